"""The common parts of measuring and drawing a finished run: findings, figures, choice of
records."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from orbit.core.groups import Group
from orbit.core.pictures import as_picture
from orbit.core.store.manifest import Manifest
from orbit.core.store.reader import Records, SplitReader


class TrainedModel(Protocol):
    """The part of a run that measures and pictures use; see `pipeline.runs.Run`."""

    @property
    def model(self) -> nn.Module:
        """In evaluation mode, with the weights of a checkpoint."""

    @property
    def group(self) -> Group:
        """The group of the dataset."""

    @property
    def step(self) -> int:
        """The step of the checkpoint."""

    def places(self, world_size: int = 1) -> int:
        """How many records each of this many ranks can process at a time."""


@dataclass(frozen=True)
class Subject:
    """One checkpoint of a run on one split of a dataset.

    The model processes `batch` frames at a time. `max_records` limits the records that are read, as
    the method defines it; None leaves the choice to the method.
    """

    run_dir: Path
    run: TrainedModel
    manifest: Manifest
    reader: SplitReader
    split: str
    batch: int
    max_records: int | None = None


@dataclass(frozen=True)
class Findings:
    """`metrics`: finite numbers by name. `curves`: lists and tables as plain values, which are
    written to a separate file."""

    metrics: dict[str, float]
    curves: dict[str, Any] = field(default_factory=dict)


SEED = 0
RECORD_STREAM, ELEMENT_STREAM, PARTNER_STREAM = 0, 1, 2


def spread(total: int, num: int) -> np.ndarray:
    """`num` of `total` positions (all, if there are fewer), ascending, int64.

    One is drawn from each of `num` equal intervals: with a constant step, records that come in runs
    would all have the same group element.
    """
    num = min(num, total)
    edges = np.arange(num + 1) * total // num
    return np.random.default_rng([SEED, RECORD_STREAM]).integers(edges[:-1], edges[1:])


def spread_records(reader: SplitReader, num: int) -> np.ndarray:
    """Numbers of up to `num` records, spread over a split, (N,) int64."""
    return spread(reader.num_records, num)


def spread_sources(reader: SplitReader, num: int | None = None) -> np.ndarray:
    """Numbers of records of up to `num` source frames (all for None), (N,) int64.

    Each frame occurs once if records come in runs that share one; otherwise these are ordinary
    records.
    """
    length = reader.records_per_source or 1
    total = reader.num_records // length
    return spread(total, total if num is None else num) * length


def partners(num: int) -> np.ndarray:
    """A fixed permutation of `num` positions without fixed points, (N,) int64.

    It is one cycle, drawn by a fixed seed. ValueError for fewer than two positions.
    """
    if num < 2:
        raise ValueError(f"{num} record has no partner to swap with")
    order = np.random.default_rng([SEED, PARTNER_STREAM]).permutation(num)
    partner = np.empty(num, np.int64)
    partner[order] = np.roll(order, -1)
    return partner


def batches(
    reader: SplitReader, records: np.ndarray, batch: int
) -> Iterator[tuple[slice, Records]]:
    """The records, `batch` at a time, each batch with its positions among `records`."""
    for first in range(0, len(records), batch):
        places = slice(first, min(first + batch, len(records)))
        yield places, reader.read(records[places])


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's parameters."""
    return next(model.parameters()).device


TITLE_LETTER_INCHES, TITLE_LINE_INCHES = 0.085, 0.18
Row = tuple[str, np.ndarray, list[str]]
"""A label, frames (N, C, ...) with values in [0, 1], and a caption for each or none."""


def new_figure(
    num_rows: int, num_columns: int, size: tuple[float, float], title: str, **how: Any
) -> Any:
    """A matplotlib figure of this size in inches, and its axes (num_rows, num_columns).

    A wider title is broken into several lines, and the figure grows. `how` is passed to
    `matplotlib.pyplot.subplots`.
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
    """Show a picture without ticks; by default grey on [0, 1]."""
    axis.set_xticks([])
    axis.set_yticks([])
    settings = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest", **how}
    return axis.imshow(picture, **settings)


def label_row(axes: Sequence[Any], label: str) -> None:
    """Write a label to the left of a row of axes."""
    axes[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)


def name_columns(axes: Sequence[Any], names: Sequence[str]) -> None:
    """Write the name of each column's element above it; long ones take two lines."""
    for axis, name in zip(axes, names, strict=False):
        shown = name.replace(" ", "\n", 1) if len(name) > 10 else name
        axis.set_title(f"g = {shown}", fontsize=8, pad=3)


def add_scale(figure: Any, place: Any, image: Any, label: str) -> None:
    """Draw the colour scale of an image in a cell of a grid (a matplotlib SubplotSpec)."""
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
