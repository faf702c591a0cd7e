"""Latents of all states, coloured by the cell of the object: latent_grid.png (paper, 5x5 grid).

A panel for each object. Where the latent of an object is not a point of the plane, its part
that turns with the board is shown, for fibres over the quarter turns, or else its first two
principal components.
"""

from pathlib import Path

import numpy as np

from pipeline.evaluation.pictures.grid import new_figure
from pipeline.evaluation.pictures.worlds.principal_axes import with_signs
from pipeline.files.figures import save_figure

MAX_POINTS = 4000


def planar_points(latents: np.ndarray) -> tuple[np.ndarray, str]:
    """Points (N, objects, 2) for latents (N, objects, ...), and in words what they are.

    Of fibres x (4, copies) the turning part is (x_0 - x_2, x_1 - x_3) of the copy in which it
    varies most.
    """
    if latents.shape[2:] == (2,):
        return latents, "latents"
    if latents.ndim == 4 and latents.shape[2] == 4:
        turning = np.stack(
            [latents[:, :, 0] - latents[:, :, 2], latents[:, :, 1] - latents[:, :, 3]], 2
        )
        best = turning.var(0).sum(1).argmax(-1)
        chosen = [turning[:, index, :, copy] for index, copy in enumerate(best)]
        return np.stack(chosen, 1), "the part of the latents that turns with the board"
    flat = latents.reshape(*latents.shape[:2], -1)
    centred = flat - flat.mean(0)
    points = []
    for index in range(flat.shape[1]):
        axes = with_signs(np.linalg.svd(centred[:, index], full_matrices=False)[2][:2])
        points.append(centred[:, index] @ axes.T)
    return np.stack(points, 1), "first two principal components of the latents"


def write_latent_grid(path: Path, latents: np.ndarray, cells: np.ndarray, title: str) -> None:
    """`latents` (N, objects, ...) and `cells` (N, objects, 2), rows and columns from 0, as a PNG.

    Colours run with the row from blue to red and with the column from dark to bright.
    """
    points, what = planar_points(latents[:MAX_POINTS].astype(np.float64))
    colours = cell_colours(cells[:MAX_POINTS])
    num = points.shape[1]
    size = (2.1 * num + 1.9, 2.8)
    widths = [*(1.0,) * num, 0.55]
    figure, axes = new_figure(1, num + 1, size, title, width_ratios=widths)
    for index, axis in enumerate(axes[0, :num]):
        x, y = points[:, index].T
        axis.scatter(x, y, s=7, c=colours[:, index], linewidths=0)
        axis.set_title(f"object {index}", fontsize=9)
        axis.tick_params(labelsize=6)
        axis.set_aspect("equal", adjustable="datalim")
    figure.supxlabel(what, fontsize=9)
    key = axes[0, num]
    rows, columns = cells.reshape(-1, 2).max(0) + 1
    lattice = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1)
    key.imshow(cell_colours(lattice), interpolation="nearest")
    key.set_title("cells", fontsize=9)
    key.set_xticks([])
    key.set_yticks([])
    save_figure(figure, path)


def cell_colours(cells: np.ndarray) -> np.ndarray:
    """Colours (..., 3) on [0, 1] of cells (..., 2)."""
    import matplotlib

    last = max(1, int(cells.max()))
    row, column = cells[..., 0] / last, cells[..., 1] / last
    colour = matplotlib.colormaps["turbo"](0.08 + 0.84 * row)[..., :3]
    return np.asarray(colour * (0.45 + 0.55 * column)[..., None])
