"""An object that turns about one axis after the other, and latents that should: traversal.png.

Latents that are rotations are drawn as three axes: red, green and blue are the images of x, y
and z, seen as frames are (x to the right, y up), lighter where they point away. The paper's
figure shows inputs and encoded frames; here rollouts from the first pose are added.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.evaluation.pictures.grid import label_row, new_figure, show
from pipeline.files.figures import as_picture, save_figure

COLOURS = ("#d1372c", "#2f9e44", "#2f6fd0")
NUM_COLUMNS = 10


class Traversal(NamedTuple):
    """A turn about one axis: frames (K, C, H, W) on [0, 1], encoded latents and rollouts from
    the first, (K, 3, 3) each, and whether each of them is a hit, (K,) bool."""

    name: str
    frames: np.ndarray
    encoded: np.ndarray
    predicted: np.ndarray
    hits: np.ndarray


def write_traversal(path: Path, traversals: Sequence[Traversal], title: str) -> None:
    """Three rows a traversal, as a PNG; rollouts that miss have a grey ground."""
    figure, axes = new_figure(
        3 * len(traversals), NUM_COLUMNS, (0.95 * NUM_COLUMNS + 1.1, 2.9 * len(traversals)), title
    )
    for number, each in enumerate(traversals):
        shown = np.linspace(0, len(each.frames) - 1, NUM_COLUMNS).round().astype(int)
        rows = axes[3 * number : 3 * number + 3]
        for column, step in enumerate(shown):
            show(rows[0, column], as_picture(each.frames[step]))
            rows[0, column].set_title(f"step {step}", fontsize=7, pad=2)
            draw_axes(rows[1, column], each.encoded[step])
            draw_axes(rows[2, column], each.predicted[step], is_faulty=not each.hits[step])
        for row, label in zip(rows, (each.name, "encoded", "rollout"), strict=True):
            label_row(row, label)
    save_figure(figure, path)


def draw_axes(axis: Any, matrix: np.ndarray, is_faulty: bool = False) -> None:
    """The columns of a matrix (3, 3) as arrows, those that point to the viewer on top."""
    for index in np.argsort(matrix[2]):
        x, y, z = matrix[:, index]
        colour = np.array([int(COLOURS[index][k : k + 2], 16) / 255 for k in (1, 3, 5)])
        shade = 0.55 * np.clip(-z, 0, 1)
        axis.annotate(
            "",
            (x, y),
            (0, 0),
            arrowprops={
                "arrowstyle": "-|>",
                "color": colour + (1 - colour) * shade,
                "linewidth": 1.8,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
    axis.set_xlim(-1.15, 1.15)
    axis.set_ylim(-1.15, 1.15)
    axis.set_aspect("equal")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_facecolor("#e4e4e4" if is_faulty else "white")
    axis.spines[:].set_color("#bbbbbb")
