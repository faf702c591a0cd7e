"""A picture of a dataset's pairs: source above target, with action and label."""

from pathlib import Path

import numpy as np

from data_prep.store.reader import PairStore
from pipeline.files.figures import as_picture, save_figure

NUM_COLUMNS, NUM_ROWS = 8, 3


def write_contact_sheet(path: Path, store: PairStore, split: str) -> None:
    """Evenly spread pairs of a split as a PNG; raises ValueError for an unknown split."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    reader = store.split(split)
    manifest = store.manifest
    num_pairs = min(NUM_COLUMNS * NUM_ROWS, reader.num_records)
    # Odd strides through the records, so that orbits of equal length show all their elements.
    stride = max(1, reader.num_records // num_pairs) | 1
    numbers = np.arange(num_pairs) * stride % reader.num_records
    records = reader.read(numbers)
    low, high = manifest.frames.stored_range
    figure, axes = plt.subplots(
        2 * NUM_ROWS,
        NUM_COLUMNS,
        figsize=(NUM_COLUMNS * 1.1, NUM_ROWS * 2.6),
        layout="constrained",
        squeeze=False,
    )
    figure.suptitle(f"{manifest.name}, {split}: source above target", fontsize=11)
    for axis in axes.flat:
        axis.set_axis_off()
    for place in range(num_pairs):
        row, column = divmod(place, NUM_COLUMNS)
        action = ", ".join(f"{value:g}" for value in records.action[place])
        for offset, frame in enumerate((records.source[place], records.target[place])):
            axis = axes[2 * row + offset][column]
            picture = (as_picture(frame).astype(np.float32) - low) / (high - low)
            axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes[2 * row][column].set_title(
            f"g = {action}  y = {records.label[place]}", fontsize=7, pad=2
        )
    save_figure(figure, path)
