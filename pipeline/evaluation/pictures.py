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
MAX_ELEMENTS = 8


@torch.no_grad()
def predict_orbits(run: Run, source: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sources, model outputs and true transforms under every element.

    `source` holds stored frames (N, C, ...). Returns arrays in [0, 1] of shapes
    (N, C, ...), (K, N, C, ...) and (K, N, C, ...), K the number of elements.
    """
    model = run.model
    assert isinstance(model, LatentActionModel)
    device = next(model.parameters()).device
    images = model.normalise(torch.from_numpy(source).to(device))
    outputs, truths = [], []
    for element in run.group.elements():
        g = element.expand(len(images)).to(device)
        outputs.append(model.to_unit_range(model.transform(images, g)).clamp(0, 1))
        truths.append(model.to_unit_range(run.group.act_on_image(images, g)))
    stacked = (torch.stack(outputs).cpu().numpy(), torch.stack(truths).cpu().numpy())
    return model.to_unit_range(images).cpu().numpy(), *stacked


def write_orbits(path: Path, run: Run, reader: SplitReader) -> None:
    """A row of sources, then a row of outputs and one of truths for each element, as a PNG."""
    step = max(1, reader.num_records // NUM_IMAGES)
    records = np.arange(0, reader.num_records, step)[:NUM_IMAGES]
    source, outputs, truths = predict_orbits(run, reader.read(records).source)
    rows = [("source", source)]
    names = run.group.element_names[:MAX_ELEMENTS]
    for name, output, truth in zip(names, outputs, truths, strict=False):
        rows += [(f"output, g = {name}", output), (f"truth, g = {name}", truth)]
    save_figure(picture_grid(rows, f"Orbits under {run.group.name}, step {run.step}"), path)


def picture_grid(rows: list[tuple[str, np.ndarray]], title: str) -> Any:
    """A matplotlib figure of labelled rows of frames (N, C, ...) with values in [0, 1]."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    num_columns = len(rows[0][1])
    figure, axes = plt.subplots(
        len(rows),
        num_columns,
        figsize=(num_columns * 0.9 + 1.6, len(rows) * 0.9 + 0.6),
        squeeze=False,
        layout="constrained",
    )
    figure.suptitle(title, fontsize=11)
    for row, (label, frames) in enumerate(rows):
        for column, frame in enumerate(frames):
            axis = axes[row][column]
            axis.imshow(as_picture(frame), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
        axes[row][0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    return figure
