"""Pictures of what a model does."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_prep.store.reader import SplitReader
from pipeline.files.figures import as_picture, save_figure
from pipeline.models.latent_action import LatentActionModel
from pipeline.runs import Run

NUM_IMAGES = 6
NUM_VOLUMES = 3
MAX_ELEMENTS = 8

Row = tuple[str, np.ndarray, list[str]]
"""A label, frames (N, C, ...) with values in [0, 1], and a caption for each or none."""


@torch.no_grad()
def predict(run: Run, source: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Model outputs in [0, 1] for stored frames (N, C, ...) and action vectors (N, A)."""
    model = run.model
    assert isinstance(model, LatentActionModel)
    device = next(model.parameters()).device
    images = model.normalise(torch.from_numpy(source).to(device))
    g = run.group.decode(torch.from_numpy(action).to(device))
    outputs = model.to_unit_range(model.transform(images, g)).clamp(0, 1)
    return np.asarray(outputs.cpu().numpy())


def orbit_records(reader: SplitReader, num_sources: int) -> np.ndarray:
    """Record numbers (K, N): N evenly spread sources, each under up to 8 of its elements.

    Where records do not come in runs that share a source, K is 1.
    """
    length = reader.records_per_source or 1
    total = reader.num_records // length
    # An odd stride meets every pose where the members of an orbit are sources in turn.
    stride = max(1, total // num_sources - 1) | 1
    sources = np.arange(min(num_sources, total)) * stride % total
    elements = np.arange(0, length, -(-length // MAX_ELEMENTS))
    return np.asarray(sources[None] * length + elements[:, None])


def write_orbits(path: Path, run: Run, reader: SplitReader) -> None:
    """A row of sources, then a row of outputs and one of truths for each element, as a PNG."""
    is_volume = len(reader.frames.shape) == 4
    numbers = orbit_records(reader, NUM_VOLUMES if is_volume else NUM_IMAGES)
    low, high = reader.frames.stored_range
    rows: list[Row] = []
    for records in map(reader.read, numbers):
        source, truth = ((x.astype(np.float32) - low) / (high - low) for x in records[:2])
        if not rows:
            rows.append(("source", source, []))
        names = run.group.names(run.group.decode(torch.from_numpy(records.action)))
        is_same = len(set(names)) == 1
        label, captions = (f", g = {names[0]}", []) if is_same else ("", names)
        output = predict(run, records.source, records.action)
        rows += [(f"output{label}", output, captions), (f"truth{label}", truth, [])]
    save_figure(picture_grid(rows, f"Orbits under {run.group.name}, step {run.step}"), path)


def picture_grid(rows: list[Row], title: str) -> Any:
    """A matplotlib figure of labelled rows of frames."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    num_columns = len(rows[0][1])
    height, width = as_picture(rows[0][1][0]).shape[:2]
    cell = 0.9 * width / height
    margin = 0.6 + 0.075 * max(len(label) for label, _, _ in rows)
    figure, axes = plt.subplots(
        len(rows),
        num_columns,
        figsize=(num_columns * cell + margin, len(rows) * 0.95 + 0.6),
        squeeze=False,
        layout="constrained",
    )
    figure.suptitle(title, fontsize=11)
    for row, (label, frames, captions) in enumerate(rows):
        for column, frame in enumerate(frames):
            axis = axes[row][column]
            axis.imshow(as_picture(frame), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            if captions:
                axis.set_title(captions[column], fontsize=7, pad=2)
        axes[row][0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    return figure
