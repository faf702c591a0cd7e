"""A picture of a dataset's pairs: source above target, with action and label."""

import math
from pathlib import Path

import numpy as np
import torch

from data_prep.store.manifest import Manifest
from data_prep.store.reader import PairStore
from pipeline.files.figures import as_picture, save_figure
from pipeline.groups import make_group

NUM_COLUMNS, NUM_VOLUME_COLUMNS, NUM_ROWS = 8, 4, 3
NEW_LINE = "\n"
LONG_NAME = 6
"""Characters from which on a name leaves no room for the label beside it."""


def write_contact_sheet(path: Path, store: PairStore, split: str) -> None:
    """Evenly spread pairs of a split as a PNG; raises ValueError for an unknown split."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    reader = store.split(split)
    manifest = store.manifest
    is_volume = len(manifest.frames.shape) == 4
    num_columns = NUM_VOLUME_COLUMNS if is_volume else NUM_COLUMNS
    num_pairs = min(num_columns * NUM_ROWS, reader.num_records)
    # Strides without a common factor with the orbits' length show all elements, and no pair twice.
    stride = max(1, reader.num_records // num_pairs)
    while math.gcd(stride, reader.num_records) > 1:
        stride += 1
    numbers = np.arange(num_pairs) * stride % reader.num_records
    names = action_names(manifest, reader.read_column("action", numbers))
    low, high = manifest.frames.stored_range
    figure, axes = plt.subplots(
        2 * NUM_ROWS,
        num_columns,
        figsize=(num_columns * (2.9 if is_volume else 1.1), NUM_ROWS * (2.3 if is_volume else 2.6)),
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
    """The group's names of action vectors (N, A), or their numbers where they are a world's."""
    group = make_group(manifest.group)
    if tuple(manifest.action) == tuple(group.action_components):
        return group.names(group.decode(torch.from_numpy(action)))
    return [", ".join(f"{value:g}" for value in row) for row in action]
