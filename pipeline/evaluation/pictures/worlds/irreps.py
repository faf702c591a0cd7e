"""Fibres of the latent split into irreps, all states and one episode: irreps.png (paper, Reacher).

A row for each object, of the regular fibre that varies most. One-dimensional copies are drawn
against an angle of the state, where one is known, else as densities; two-dimensional ones as
planes. Points have the colour of that angle, on a scale that ends as it begins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.evaluation.pictures.grid import label_row, new_figure
from pipeline.evaluation.pictures.worlds.principal_axes import with_signs
from pipeline.files.figures import save_figure
from pipeline.groups.decomposition import Copy

PLAIN, EPISODE, RIM = "#4878b0", "#d1372c", "0.45"
RING = (0.55, 0.95)
"""Inner and outer radius of the key's ring, of half its side."""


@dataclass(frozen=True)
class FibreStates:
    """A fibre of K numbers and the copies of irreps it holds, of all states (N, K) and of one
    episode (T, K), with an angle of each in degrees, or None where none is known."""

    name: str
    copies: Sequence[Copy]
    states: np.ndarray
    episode: np.ndarray
    angles: np.ndarray | None = None
    episode_angles: np.ndarray | None = None


def principal_copies(copies: Sequence[Copy], states: np.ndarray) -> list[Copy]:
    """Copies of the same irreps that hold as much of `states` (N, n) as possible, one by one.

    Several copies of one irrep may be mixed among themselves by any rotation.
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
    """A row a fibre, a panel a copy, as a PNG; `what` the angles are of.

    Titles say which share of the fibre's variance a copy holds. Of a copy of more than two
    dimensions the first two are shown.
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
    text = "points: test states and their twins; red: one episode, its start ringed"
    if has_angles:
        _draw_key(axes[0, num], what)
        text += f"; 1D parts against the angle of the {what}"
    text += "; %: share of the variance"
    figure.supxlabel(text, fontsize=8)
    save_figure(figure, path)


def angle_colours(angles: np.ndarray) -> np.ndarray:
    """Colours (N, 4) on [0, 1] of angles (N,) in degrees, the same a turn further; NaN is grey."""
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
    """Of the variance of states (N, K), what a copy holds; 0 where all are equal."""
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
    """The first two coordinates of points (N, d)."""
    axis.axhline(0, color="0.85", linewidth=0.7, zorder=0)
    axis.axvline(0, color="0.85", linewidth=0.7, zorder=0)
    axis.scatter(*points[:, :2].T, s=7, c=colours, edgecolors=RIM, linewidths=0.15)


def _draw_density(axis: Any, every: np.ndarray, some: np.ndarray) -> None:
    """States as a histogram; the episode above it, time upwards."""
    axis.hist(every, bins=60, color=PLAIN, linewidth=0)
    top = axis.get_ylim()[1]
    height = top * (1.08 + 0.5 * np.arange(len(some)) / max(1, len(some) - 1))
    axis.plot(some, height, color=EPISODE, marker=".", markersize=4, linewidth=0.9)
    axis.plot(some[:1], height[:1], "o", color=EPISODE, fillstyle="none", markersize=7)
    axis.set_ylim(0, top * 1.66)
    axis.set_yticks([])
    axis.set_xlim(_limits(every))


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Not to enlarge rounding: at least a tenth of a thousandth around the middle."""
    middle = float(values.max() + values.min()) / 2
    half = max(float(np.ptp(values)) * 0.55, 1e-4)
    return middle - half, middle + half


def _draw_key(axis: Any, what: str) -> None:
    """A ring with the colour of each angle where that angle lies."""
    side = np.linspace(-1, 1, 201)
    x, y = np.meshgrid(side, side)
    radius = np.hypot(x, y)
    colours = angle_colours(np.degrees(np.arctan2(y, x)).ravel()).reshape(*x.shape, 4)
    colours[..., 3] = (radius >= RING[0]) & (radius <= RING[1])
    axis.imshow(colours, origin="lower", interpolation="nearest")
    axis.set_title(f"angle of the\n{what}", fontsize=9)
