"""A field of the latent split into irreps, all states and one episode: irreps.png (paper, Reacher).

Of latents that are fields over the group's elements the one that varies most is shown: in
each one-dimensional copy as a density along a line, in each two-dimensional one as a plane.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.evaluation.pictures.grid import new_figure
from pipeline.files.figures import save_figure
from pipeline.groups.decomposition import Copy

STATES, EPISODE = "#4878b0", "#d1372c"


def principal_copies(copies: Sequence[Copy], states: np.ndarray) -> list[Copy]:
    """Copies of the same irreps that hold as much of `states` (N, n) as possible, one by one.

    Several copies of one irrep may be mixed among themselves by any rotation.
    """
    mixed: list[Copy] = []
    for name in dict.fromkeys(copy.name for copy in copies):
        rows = np.stack([copy.rows.numpy() for copy in copies if copy.name == name])
        coordinates = np.einsum("mdn,bn->bmd", rows, states - states.mean(0))
        moments = np.einsum("bmd,bkd->mk", coordinates, coordinates)
        weights = np.linalg.eigh(moments)[1].T[::-1]
        mixed += [
            Copy(name, torch.from_numpy(new)) for new in np.einsum("km,mdn->kdn", weights, rows)
        ]
    return mixed


def write_irreps(
    path: Path, copies: Sequence[Copy], states: np.ndarray, episode: np.ndarray, title: str
) -> None:
    """`states` (N, n) of all episodes and `episode` (T, n) of one, as a PNG.

    Of a copy of more than two dimensions the first two are shown.
    """
    size = (2.25 * len(copies) + 0.3, 3.1)
    figure, axes = new_figure(1, len(copies), size, title)
    counts: dict[str, int] = {}
    for axis, copy in zip(axes[0], copies, strict=True):
        counts[copy.name] = counts.get(copy.name, 0) + 1
        every, some = (np.asarray(x @ copy.rows.numpy().T) for x in (states, episode))
        if len(copy.rows) == 1:
            _draw_line(axis, every[:, 0], some[:, 0])
        else:
            _draw_plane(axis, every, some)
        several = sum(other.name == copy.name for other in copies) > 1
        name = f"{copy.name}, copy {counts[copy.name]}" if several else copy.name
        axis.set_title(f"{name} ({len(copy.rows)}D)", fontsize=9)
        axis.tick_params(labelsize=6)
    figure.supxlabel("blue: all test states; red: one episode, its start ringed", fontsize=8)
    save_figure(figure, path)


def _draw_line(axis: Any, every: np.ndarray, some: np.ndarray) -> None:
    """States as a histogram; the episode above it, time upwards."""
    axis.hist(every, bins=60, color=STATES, linewidth=0)
    top = axis.get_ylim()[1]
    height = top * (1.08 + 0.5 * np.arange(len(some)) / max(1, len(some) - 1))
    axis.plot(some, height, color=EPISODE, marker=".", markersize=4, linewidth=0.9)
    axis.plot(some[:1], height[:1], "o", color=EPISODE, fillstyle="none", markersize=7)
    axis.set_ylim(0, top * 1.66)
    axis.set_yticks([])
    _keep_apart(axis, every)


def _draw_plane(axis: Any, every: np.ndarray, some: np.ndarray) -> None:
    axis.scatter(*every[:, :2].T, s=4, color=STATES, alpha=0.35, linewidths=0)
    axis.plot(*some[:, :2].T, color=EPISODE, marker=".", markersize=4, linewidth=0.9)
    axis.plot(*some[:1, :2].T, "o", color=EPISODE, fillstyle="none", markersize=7)
    axis.set_aspect("equal", adjustable="datalim")


def _keep_apart(axis: Any, values: np.ndarray) -> None:
    """Not to enlarge rounding: a line shows at least a tenth of a thousandth around its mean."""
    middle, half = float(values.mean()), max(float(np.ptp(values)) * 0.55, 1e-4)
    axis.set_xlim(middle - half, middle + half)
