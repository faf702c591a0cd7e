"""A picture of labelled sequences: a line each, with dots where the label is 1."""

from pathlib import Path

import numpy as np

from data_prep.store.reader import PairStore
from pipeline.files.figures import save_figure

NUM_COLUMNS, NUM_ROWS = 4, 3


def write_sequence_sheet(path: Path, store: PairStore, split: str) -> None:
    """The first sequences of a split as a PNG; raises ValueError for an unknown split."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    reader, manifest = store.split(split), store.manifest
    records = reader.read(np.arange(min(NUM_COLUMNS * NUM_ROWS, reader.num_records)))
    figure, axes = plt.subplots(
        NUM_ROWS,
        NUM_COLUMNS,
        figsize=(NUM_COLUMNS * 2.2, NUM_ROWS * 1.4),
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
