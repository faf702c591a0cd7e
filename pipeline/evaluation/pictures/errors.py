"""Where outputs are wrong, by element: errors.png."""

from pathlib import Path

import numpy as np
import torch

from data_prep.store.reader import SplitReader
from pipeline.analysis.records import batches, spread_records
from pipeline.evaluation.pictures.grid import label_row, new_figure, show
from pipeline.evaluation.pictures.prediction import predict, unit_range
from pipeline.files.figures import save_figure
from pipeline.runs import Run

MAX_RECORDS = 512


def error_maps(run: Run, reader: SplitReader) -> dict[str, tuple[int, np.ndarray]]:
    """Number of records and mean |output - truth| on [0, 1] by bin of elements.

    Maps are (H, W), means over channels and, of volumes, over the first axis.
    """
    names = run.group.bin_names
    sums = np.zeros((len(names), *reader.frames.shape[-2:]))
    counts = np.zeros(len(names), np.int64)
    for _, read in batches(reader, spread_records(reader, MAX_RECORDS), run.places()):
        output = predict(run, read.source, read.action)
        error = np.abs(output - unit_range(read.target, reader.frames))
        maps = error.mean(tuple(range(1, error.ndim - 2)), dtype=np.float64)
        bins = run.group.bin_index(run.group.decode(torch.from_numpy(read.action))).numpy()
        np.add.at(sums, bins, maps)
        counts += np.bincount(bins, minlength=len(names))
    return {
        name: (int(count), total / count)
        for name, count, total in zip(names, counts, sums, strict=True)
        if count
    }


def write_errors(path: Path, run: Run, reader: SplitReader) -> None:
    """The mean error map of each bin of elements on one colour scale, as a PNG."""
    maps = error_maps(run, reader)
    height, width = reader.frames.shape[-2:]
    size = (1.6 * width / height * len(maps) + 1.7, 2.5)
    title = f"Mean error by element of {run.group.name}, step {run.step}"
    figure, axes = new_figure(1, len(maps), size, title)
    highest = max(float(error.max()) for _, error in maps.values())
    for axis, (name, (count, error)) in zip(axes[0], maps.items(), strict=True):
        image = show(axis, error, cmap="magma", vmax=highest)
        axis.set_title(f"g: {name}", fontsize=9, pad=3)
        axis.set_xlabel(f"mean {error.mean():.4f}\n{count} records", fontsize=7)
    is_volume = len(reader.frames.shape) == 4
    label_row(axes[0], "|output − truth|" + ("\n(mean along\nthe first axis)" if is_volume else ""))
    figure.colorbar(image, ax=list(axes[0]), aspect=12, pad=0.02).ax.tick_params(labelsize=7)
    save_figure(figure, path)
