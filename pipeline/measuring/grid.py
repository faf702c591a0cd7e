"""Figures of labelled rows of frames."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from orbit.core.pictures.figures import as_picture

TITLE_LETTER_INCHES, TITLE_LINE_INCHES = 0.085, 0.18
Row = tuple[str, np.ndarray, list[str]]
"""A label, frames (N, C, ...) with values in [0, 1], and a caption for each or none."""


def new_figure(
    num_rows: int, num_columns: int, size: tuple[float, float], title: str, **how: Any
) -> Any:
    """A matplotlib figure of that size in inches, and its axes (num_rows, num_columns).

    A title that is wider takes several lines, for which the figure grows.
    `how` goes to `matplotlib.pyplot.subplots`.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    lines = [
        part
        for line in title.splitlines()
        for part in textwrap.wrap(line, max(1, int(size[0] / TITLE_LETTER_INCHES)))
    ]
    inches = (size[0], size[1] + max(0, len(lines) - 1) * TITLE_LINE_INCHES)
    figure, axes = plt.subplots(
        num_rows, num_columns, figsize=inches, squeeze=False, layout="constrained", **how
    )
    figure.suptitle("\n".join(lines), fontsize=11)
    return figure, axes


def show(axis: Any, picture: np.ndarray, **how: Any) -> Any:
    """A picture without ticks; grey on [0, 1] unless told otherwise."""
    axis.set_xticks([])
    axis.set_yticks([])
    settings = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest", **how}
    return axis.imshow(picture, **settings)


def label_row(axes: Sequence[Any], label: str) -> None:
    """A label to the left of a row of axes."""
    axes[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)


def name_columns(axes: Sequence[Any], names: Sequence[str]) -> None:
    """The name of each column's element above it; long ones take two lines."""
    for axis, name in zip(axes, names, strict=False):
        shown = name.replace(" ", "\n", 1) if len(name) > 10 else name
        axis.set_title(f"g = {shown}", fontsize=8, pad=3)


def add_scale(figure: Any, place: Any, image: Any, label: str) -> None:
    """The colour scale of an image at a place of a grid (a matplotlib SubplotSpec)."""
    bar = figure.colorbar(image, cax=figure.add_subplot(place))
    bar.ax.tick_params(labelsize=7)
    bar.set_label(label, fontsize=8)


def picture_grid(rows: list[Row], title: str) -> Any:
    """A matplotlib figure of labelled rows of frames."""
    num_columns = len(rows[0][1])
    height, width = as_picture(rows[0][1][0]).shape[:2]
    margin = 0.6 + 0.075 * max(len(label) for label, _, _ in rows)
    size = (num_columns * 0.9 * width / height + margin, len(rows) * 0.95 + 0.6)
    figure, axes = new_figure(len(rows), num_columns, size, title)
    for row, (label, frames, captions) in enumerate(rows):
        for column, frame in enumerate(frames):
            show(axes[row][column], as_picture(frame))
            if captions:
                axes[row][column].set_title(captions[column], fontsize=7, pad=2)
        label_row(axes[row], label)
    return figure
