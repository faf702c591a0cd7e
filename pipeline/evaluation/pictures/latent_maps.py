"""Where in the latent things are: latent_maps.png (paper, latent figure)."""

from pathlib import Path

import numpy as np
import torch

from data_prep.store.reader import SplitReader
from pipeline.analysis.records import device_of
from pipeline.data.places import slices
from pipeline.evaluation.pictures.grid import add_scale, label_row, name_columns, new_figure, show
from pipeline.evaluation.pictures.prediction import (
    element_names,
    middle_slice,
    predict,
    unit_range,
    varied_records,
)
from pipeline.files.figures import as_picture, save_figure
from pipeline.models.latent_action import LatentActionModel
from pipeline.runs import Run

NUM_COLUMNS = 5


@torch.no_grad()
def latent_rows(run: Run, source: np.ndarray, action: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Channel means of magnitudes, (h, w) a record, by row; of volumes the middle slice."""
    model = run.model
    assert isinstance(model, LatentActionModel)
    device = device_of(model)
    rows: dict[str, list[np.ndarray]] = {}
    for part in slices(len(source), run.places()):
        images = model.normalise(torch.from_numpy(source[part]).to(device))
        variant, invariant = model.encode(images)
        moved = model.act(variant, run.group.decode(torch.from_numpy(action[part]).to(device)))
        latents = {
            "$|z|$": variant + invariant,
            "$|z_v|$": variant,
            "$|z_i|$": invariant,
            r"$|g\,z_v|$": moved,
            r"$|g\,z_v + z_i|$": moved + invariant,
        }
        for label, latent in latents.items():
            maps = latent.abs().mean(1, keepdim=True).cpu().numpy()
            rows.setdefault(label, []).extend(middle_slice(each)[0] for each in maps)
    return rows


def write_latent_maps(path: Path, run: Run, reader: SplitReader) -> None:
    """Input, latent maps, output, truth and error of records with different elements, as a PNG.

    All latent maps share one colour scale, all error maps another.
    """
    numbers = varied_records(run, reader, NUM_COLUMNS)
    records = reader.read(numbers)
    source, truth = (unit_range(x, reader.frames) for x in records[:2])
    output = predict(run, records.source, records.action)
    latents = latent_rows(run, records.source, records.action)
    error = [middle_slice(x).mean(0) for x in np.abs(output - truth)]
    rows = {
        "input": _shown(source),
        **latents,
        "output": _shown(output),
        "ground truth": _shown(truth),
        "|error|": error,
    }
    title = f"Latent maps under {run.group.name}, step {run.step}"
    if len(reader.frames.shape) == 4:
        title += " (middle slices)"
    num_columns = len(numbers)
    size = (1.02 * num_columns + 2.1, 1.05 * len(rows) + 0.6)
    widths = [*(1.0,) * num_columns, 0.13]
    figure, axes = new_figure(len(rows), num_columns + 1, size, title, width_ratios=widths)
    for axis in axes[:, -1]:
        axis.remove()
    highest = max(float(np.max(maps)) for maps in latents.values())
    for line, (label, frames) in zip(axes, rows.items(), strict=True):
        is_map = label in latents or label == "|error|"
        top = highest if label in latents else float(np.max(error))
        scale = {"cmap": "magma", "vmax": max(top, 1e-6)} if is_map else {}
        for axis, frame in zip(line, frames, strict=False):
            image = show(axis, frame, **scale)
        label_row(line, label)
        if label == "$|z|$":
            place = axes[0, 0].get_gridspec()[1 : 1 + len(latents), -1]
            add_scale(figure, place, image, "channel mean of magnitude, one scale for these rows")
        if label == "|error|":
            add_scale(figure, axes[0, 0].get_gridspec()[-1, -1], image, "")
    name_columns(axes[0], element_names(run, records.action))
    save_figure(figure, path)


def _shown(frames: np.ndarray) -> list[np.ndarray]:
    return [as_picture(middle_slice(frame)) for frame in frames]
