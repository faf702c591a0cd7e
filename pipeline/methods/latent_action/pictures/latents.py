"""Pictures of the latent: maps, the mask, errors by element."""

from pathlib import Path

import numpy as np
import torch

from orbit.core.pictures import as_picture, save_figure
from orbit.core.store.reader import SplitReader
from pipeline.data.packing import slices
from pipeline.measuring import (
    TrainedModel,
    add_scale,
    batches,
    device_of,
    label_row,
    name_columns,
    new_figure,
    show,
    spread_records,
)
from pipeline.methods.latent_action.pictures.elements import (
    element_names,
    middle_slice,
    predict,
    unit_range,
    varied_records,
)
from pipeline.models.latent_action import LatentActionModel
from pipeline.run_files.reading import read_metrics

NUM_COLUMNS = 5


@torch.no_grad()
def latent_rows(
    run: TrainedModel, source: np.ndarray, action: np.ndarray
) -> dict[str, list[np.ndarray]]:
    """For each row of the picture, channel means of magnitudes, (h, w) per record; of volumes the
    middle slice."""
    model = run.model
    assert isinstance(model, LatentActionModel)
    device = device_of(model)
    rows: dict[str, list[np.ndarray]] = {}
    for part in slices(len(source), run.places()):
        images = model.normalise(torch.from_numpy(source[part]).to(device))
        variant, invariant = model.encode(images)
        moved = model.act(variant, run.group.decode(torch.from_numpy(action[part]).to(device)))
        latents = {
            "|z|": variant + invariant,
            "|z_v|": variant,
            "|z_i|": invariant,
            "|g z_v|": moved,
            "|g z_v + z_i|": moved + invariant,
        }
        for label, latent in latents.items():
            maps = latent.abs().mean(1, keepdim=True).cpu().numpy()
            rows.setdefault(label, []).extend(middle_slice(each)[0] for each in maps)
    return rows


def write_latent_maps(path: Path, run: TrainedModel, reader: SplitReader) -> None:
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
        if label == "|z|":
            place = axes[0, 0].get_gridspec()[1 : 1 + len(latents), -1]
            add_scale(figure, place, image, "channel mean of magnitude, one scale for these rows")
        if label == "|error|":
            add_scale(figure, axes[0, 0].get_gridspec()[-1, -1], image, "")
    name_columns(axes[0], element_names(run, records.action))
    save_figure(figure, path)


def _shown(frames: np.ndarray) -> list[np.ndarray]:
    return [as_picture(middle_slice(frame)) for frame in frames]


PANELS = {
    "mask/fraction_variant": "share of channels\nthat are variant",
    "mask/flips_in_epoch": "flips since the\nepoch began",
}


def write_mask(path: Path, log: Path) -> bool:
    """The share of variant channels and how often entries flipped, by step, as a PNG.

    Returns whether the log (metrics.jsonl) has lines about a mask; otherwise nothing is written.
    """
    lines = [
        line
        for line in read_metrics(log)
        if line["split"] == "train" and PANELS.keys() <= line.keys()
    ]
    if not lines:
        return False
    steps = np.array([line["step"] for line in lines])
    figure, axes = new_figure(len(PANELS), 1, (6.4, 3.9), "Mask over training")
    for axis, (name, label) in zip(axes[:, 0], PANELS.items(), strict=True):
        values = np.array([line[name] for line in lines], float)
        # A falling count was reset between two epochs.
        falls = np.diff(values) < 0 if "epoch" in name else np.zeros(len(values) - 1, bool)
        breaks = np.flatnonzero(falls) + 1
        x, y = (np.insert(v.astype(float), breaks, np.nan) for v in (steps, values))
        axis.plot(x, y, color="C0", linewidth=1.3, marker=".", markersize=4, clip_on=False)
        axis.set_ylabel(label, fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xlim(0, steps[-1])
    axes[0, 0].set_ylim(-0.02, 1.02)
    axes[0, 0].tick_params(labelbottom=False)
    axes[1, 0].set_ylim(bottom=0)
    axes[1, 0].set_xlabel("step", fontsize=9)
    save_figure(figure, path)
    return True


MAX_RECORDS = 512


def error_maps(run: TrainedModel, reader: SplitReader) -> dict[str, tuple[int, np.ndarray]]:
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


def write_errors(path: Path, run: TrainedModel, reader: SplitReader) -> None:
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
