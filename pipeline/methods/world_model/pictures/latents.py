"""Pictures of latents of a world model: on the grid of cells, and split into irreps.

The grid has a panel for each object. If the latent of an object is not a point of the plane, the
panel shows the part that turns with the board (for fibres over the quarter turns), or the first two
principal components.

The picture of irreps has a row for each object, with the regular fibre that varies most.
One-dimensional copies are drawn against an angle of the state, or as densities if none is known;
two-dimensional ones as planes. Colours show that angle, on a cyclic scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orbit.core.groups import Group
from orbit.core.groups.irreps import Copy, copies_of_irreps
from orbit.core.pictures import save_figure
from pipeline.measuring import label_row, new_figure
from pipeline.methods.world_model.measures.encoding import acted
from pipeline.world_models.world_model import WorldModel


def with_signs(axes: np.ndarray) -> np.ndarray:
    """Each row of (k, n) or its negative, so that its largest component is positive.

    The result is the same on every machine: of components that are equal up to rounding, the first
    counts.
    """
    sizes = np.abs(axes)
    is_largest = sizes >= sizes.max(1, keepdims=True) * (1 - 1e-6)
    place = is_largest.argmax(1)[:, None]
    return np.asarray(axes * np.where(np.take_along_axis(axes, place, 1) < 0, -1.0, 1.0))


Place = tuple[int | slice, ...]
"""An index into one latent that yields the |G| numbers of a fibre."""


def fibre_places(latents: torch.Tensor, group: Group, num_objects: int) -> list[Place]:
    """For each object, the position of the fibre that varies most.

    Latents are (N, fields, |G|), or (N, objects, |G|, copies); without such fibres the list is
    empty.
    """
    spread = latents.double().var(0)
    if num_objects == 1 and latents.ndim == 3 and latents.shape[2] == group.num_elements:
        return [(int(spread.sum(1).argmax()), slice(None))]
    if latents.ndim == 4 and latents.shape[1:3] == (num_objects, group.num_elements):
        best = spread.sum(1).argmax(1).tolist()
        return [(number, slice(None), copy) for number, copy in enumerate(best)]
    return []


@torch.no_grad()
def fibre_copies(
    model: WorldModel, shape: torch.Size, place: Place, device: torch.device
) -> list[Copy] | None:
    """The copies of irreps in a fibre (K,) of latents of this shape, None if the model has no
    action on latents."""
    elements = model.group.elements()
    num = len(elements)
    basis = torch.zeros(num, *shape, device=device)
    basis[(slice(None), *place)] = torch.eye(num, device=device)
    every = elements.repeat_interleave(num, 0)
    moved = acted(model.act_on_latent, basis.repeat(num, *(1 for _ in shape)), every)
    if moved is None:
        return None
    # Column j of a matrix is the image of the j-th basis vector.
    matrices = moved[(slice(None), *place)].view(num, num, num).transpose(1, 2).cpu()
    return copies_of_irreps(model.group.irreps(0), elements, matrices)


MAX_POINTS = 4000


def planar_points(latents: np.ndarray) -> tuple[np.ndarray, str]:
    """Points (N, objects, 2) for latents (N, objects, ...), and a description of them.

    For fibres x (4, copies) this is the turning part (x_0 - x_2, x_1 - x_3) of the copy in which it
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

    Colours go from blue to red with the row and from dark to bright with the column.
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


PLAIN, EPISODE, RIM = "#4878b0", "#d1372c", "0.45"
RING = (0.55, 0.95)
"""Inner and outer radius of the key's ring, relative to half its side."""


@dataclass(frozen=True)
class FibreStates:
    """A fibre of K numbers and the copies of irreps it holds, of all states (N, K) and of one
    episode (T, K), with an angle for each in degrees, or None if none is known."""

    name: str
    copies: Sequence[Copy]
    states: np.ndarray
    episode: np.ndarray
    angles: np.ndarray | None = None
    episode_angles: np.ndarray | None = None


def principal_copies(copies: Sequence[Copy], states: np.ndarray) -> list[Copy]:
    """Copies of the same irreps, each holding as much of the variance of `states` (N, n) as
    possible.

    Copies of one irrep may be replaced by any rotation of them; this chooses one.
    """
    mixed: list[Copy] = []
    for name in dict.fromkeys(copy.name for copy in copies):
        rows = np.stack([copy.rows.numpy() for copy in copies if copy.name == name])
        coordinates = np.einsum("mdn,bn->bmd", rows, states - states.mean(0))
        moments = np.einsum("bmd,bkd->mk", coordinates, coordinates)
        weights = with_signs(np.linalg.eigh(moments)[1].T[::-1])
        mixed += [
            Copy(name, torch.from_numpy(new)) for new in np.einsum("km,mdn->kdn", weights, rows)
        ]
    return mixed


def write_irreps(path: Path, fibres: Sequence[FibreStates], what: str, title: str) -> None:
    """Write a row for each fibre and a panel for each copy, as a PNG; `what` describes the angles.

    Titles give a copy's share of the fibre's variance. Of a copy with more than two dimensions the
    first two are shown.
    """
    num = max(len(fibre.copies) for fibre in fibres)
    has_angles = any(fibre.angles is not None for fibre in fibres)
    size = (2.25 * num + 0.6 + 1.3 * has_angles, 2.25 * len(fibres) + 0.9)
    widths = [*(1.0,) * num, *(0.5,) * has_angles]
    figure, axes = new_figure(len(fibres), len(widths), size, title, width_ratios=widths)
    for row, fibre in zip(axes, fibres, strict=True):
        for axis, name, copy in zip(row, _copy_names(fibre.copies), fibre.copies, strict=False):
            _draw_copy(axis, fibre, copy)
            axis.set_title(f"{name}, {_share(fibre.states, copy):.0%}", fontsize=9)
            axis.tick_params(labelsize=6)
        label_row(row, fibre.name)
    for axis in axes[:, num:].flat:
        axis.set_axis_off()
    text = "points: test states and their rotated copies; red: one episode, its start ringed"
    if has_angles:
        _draw_key(axes[0, num], what)
        text += f"; 1D parts against the angle of the {what}"
    text += "; %: share of the variance"
    figure.supxlabel(text, fontsize=8)
    save_figure(figure, path)


def angle_colours(angles: np.ndarray) -> np.ndarray:
    """Colours (N, 4) on [0, 1] of angles (N,) in degrees, with a period of 360; NaN is grey."""
    import matplotlib

    colours = matplotlib.colormaps["twilight"](np.nan_to_num(angles) / 360 % 1)
    return np.where(np.isnan(angles)[:, None], (0.6, 0.6, 0.6, 1.0), colours)


def _copy_names(copies: Sequence[Copy]) -> list[str]:
    names = [copy.name for copy in copies]
    return [
        f"{name} ({names[:place].count(name) + 1})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]


def _share(states: np.ndarray, copy: Copy) -> float:
    """A copy's share of the variance of states (N, K); 0 if all are equal."""
    whole = float(states.var(0).sum())
    return float((states @ copy.rows.numpy().T).var(0).sum()) / whole if whole else 0.0


def _draw_copy(axis: Any, fibre: FibreStates, copy: Copy) -> None:
    every, some = (np.asarray(x @ copy.rows.numpy().T) for x in (fibre.states, fibre.episode))
    colours = PLAIN if fibre.angles is None else angle_colours(fibre.angles)
    if len(copy.rows) > 1:
        _draw_points(axis, every, colours)
        axis.plot(*some[:, :2].T, color=EPISODE, marker=".", markersize=4, linewidth=0.9)
        axis.plot(*some[:1, :2].T, "o", color=EPISODE, fillstyle="none", markersize=7)
        axis.set_aspect("equal", adjustable="datalim")
    elif fibre.angles is None or fibre.episode_angles is None:
        _draw_density(axis, every[:, 0], some[:, 0])
    else:
        _draw_points(axis, np.stack([fibre.angles, every[:, 0]], 1), colours)
        axis.plot(fibre.episode_angles, some[:, 0], ".", color=EPISODE, markersize=4)
        first = (fibre.episode_angles[:1], some[:1, 0])
        axis.plot(*first, "o", color=EPISODE, fillstyle="none", markersize=7)
        axis.set_xlim(-190, 190)
        axis.set_xticks([-180, -90, 0, 90, 180])
        axis.set_ylim(_limits(every))


def _draw_points(axis: Any, points: np.ndarray, colours: Any) -> None:
    """Draw the first two coordinates of points (N, d)."""
    axis.axhline(0, color="0.85", linewidth=0.7, zorder=0)
    axis.axvline(0, color="0.85", linewidth=0.7, zorder=0)
    axis.scatter(*points[:, :2].T, s=7, c=colours, edgecolors=RIM, linewidths=0.15)


def _draw_density(axis: Any, every: np.ndarray, some: np.ndarray) -> None:
    """Draw states as a histogram, and the episode above it with time upwards."""
    axis.hist(every, bins=60, color=PLAIN, linewidth=0)
    top = axis.get_ylim()[1]
    height = top * (1.08 + 0.5 * np.arange(len(some)) / max(1, len(some) - 1))
    axis.plot(some, height, color=EPISODE, marker=".", markersize=4, linewidth=0.9)
    axis.plot(some[:1], height[:1], "o", color=EPISODE, fillstyle="none", markersize=7)
    axis.set_ylim(0, top * 1.66)
    axis.set_yticks([])
    axis.set_xlim(_limits(every))


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Limits of an axis, at least 1e-4 around the middle, so that rounding errors are not
    magnified."""
    middle = float(values.max() + values.min()) / 2
    half = max(float(np.ptp(values)) * 0.55, 1e-4)
    return middle - half, middle + half


def _draw_key(axis: Any, what: str) -> None:
    """Draw a ring that shows the colour of each angle."""
    side = np.linspace(-1, 1, 201)
    x, y = np.meshgrid(side, side)
    radius = np.hypot(x, y)
    colours = angle_colours(np.degrees(np.arctan2(y, x)).ravel()).reshape(*x.shape, 4)
    colours[..., 3] = (radius >= RING[0]) & (radius <= RING[1])
    axis.imshow(colours, origin="lower", interpolation="nearest")
    axis.set_title(f"angle of the\n{what}", fontsize=9)
