"""Pictures of a dataset: pairs, source above target, and labelled sequences."""

import math
from pathlib import Path

import numpy as np
import torch

from orbit.core.groups import make_group
from orbit.core.pictures import as_picture, save_figure
from orbit.core.store.manifest import Manifest
from orbit.core.store.reader import PairStore

NUM_PAIR_COLUMNS, NUM_VOLUME_COLUMNS, NUM_PAIR_ROWS = 8, 4, 3
NEW_LINE = "\n"
LONG_NAME = 6
"""Names of at least this many characters leave no room for the label beside them."""


def write_contact_sheet(path: Path, store: PairStore, split: str) -> None:
    """Evenly spread pairs of a split as a PNG; raises ValueError for an unknown split."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    reader = store.split(split)
    manifest = store.manifest
    is_volume = len(manifest.frames.shape) == 4
    num_columns = NUM_VOLUME_COLUMNS if is_volume else NUM_PAIR_COLUMNS
    num_pairs = min(num_columns * NUM_PAIR_ROWS, reader.num_records)
    # A stride coprime to the orbits' length shows all elements, and no pair twice.
    stride = max(1, reader.num_records // num_pairs)
    while math.gcd(stride, reader.num_records) > 1:
        stride += 1
    numbers = np.arange(num_pairs) * stride % reader.num_records
    names = action_names(manifest, reader.read_column("action", numbers))
    low, high = manifest.frames.stored_range
    figure, axes = plt.subplots(
        2 * NUM_PAIR_ROWS,
        num_columns,
        figsize=(
            num_columns * (2.9 if is_volume else 1.1),
            NUM_PAIR_ROWS * (2.3 if is_volume else 2.6),
        ),
        layout="constrained",
        squeeze=False,
    )
    figure.suptitle(f"{manifest.name}, {split}: source above target", fontsize=11)
    for axis in axes.flat:
        axis.set_axis_off()
    for place in range(num_pairs):
        row, column = divmod(place, num_columns)
        pair = reader.read(numbers[place : place + 1])
        for offset, frame in enumerate((pair.source[0], pair.target[0])):
            axis = axes[2 * row + offset][column]
            picture = as_picture((frame.astype(np.float32) - low) / (high - low))
            axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        is_long = len(names[place]) > LONG_NAME
        title = f"g = {names[place]}{NEW_LINE if is_long else '  '}y = {pair.label[0]}"
        axes[2 * row][column].set_title(title, fontsize=6 if is_long else 7, pad=2)
    save_figure(figure, path)


def action_names(manifest: Manifest, action: np.ndarray) -> list[str]:
    """The group's names of action vectors (N, A), or their numbers if they are actions of a
    world."""
    group = make_group(manifest.group)
    if tuple(manifest.action) == tuple(group.action_components):
        return group.names(group.decode(torch.from_numpy(action)))
    return [", ".join(f"{value:g}" for value in row) for row in action]


NUM_SEQUENCE_COLUMNS, NUM_SEQUENCE_ROWS = 4, 3


def write_sequence_sheet(path: Path, store: PairStore, split: str) -> None:
    """The first sequences of a split as a PNG; raises ValueError for an unknown split."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    reader, manifest = store.split(split), store.manifest
    records = reader.read(
        np.arange(min(NUM_SEQUENCE_COLUMNS * NUM_SEQUENCE_ROWS, reader.num_records))
    )
    figure, axes = plt.subplots(
        NUM_SEQUENCE_ROWS,
        NUM_SEQUENCE_COLUMNS,
        figsize=(NUM_SEQUENCE_COLUMNS * 2.2, NUM_SEQUENCE_ROWS * 1.4),
        layout="constrained",
        sharex=True,
        sharey=True,
    )
    figure.suptitle(f"{manifest.name}, {split}: sequences, dots where the label is 1", fontsize=11)
    for axis in axes.flat:
        axis.tick_params(labelsize=6)
        axis.axhline(0, color="0.8", linewidth=0.6)
    for axis, source, target in zip(axes.flat, records.source, records.target, strict=False):
        values, labels = source.reshape(-1).astype(np.float32), target.reshape(-1) > 0.5
        points = np.arange(len(values))
        axis.plot(points, values, linewidth=1.2, color="#377eb8")
        axis.plot(points[labels], values[labels], "o", markersize=4, color="#e41a1c")
    save_figure(figure, path)
