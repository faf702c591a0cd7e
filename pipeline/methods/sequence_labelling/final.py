"""Final evaluation of sequence labelling: scores, and the first layer's weights in a picture.

accuracy, f1            over all positions of all sequences, at a threshold of one half
circulant_share         of the first layer's energy: 1 for a cyclic convolution, 1/L for noise
equivariance_error/...  |f(shifted x) - shifted f(x)| by the norm of f(x), where f is the
                        `first_layer` or all of the network (`logits`), shifts in turn
"""

from pathlib import Path

import numpy as np
import torch

from orbit.core.pictures import save_figure
from orbit.core.store.reader import SplitReader
from pipeline.measuring import (
    Findings,
    Subject,
    add_scale,
    batches,
    device_of,
    new_figure,
    show,
    spread_records,
)
from pipeline.methods.sequence_labelling.task import SequenceLabeller
from pipeline.metrics.images import MeanError, distances, lengths
from pipeline.metrics.latents import circulant_part, circulant_share
from pipeline.metrics.ranking import LabelCounts, count_labels


@torch.no_grad()
def labelling_metrics(
    model: SequenceLabeller, reader: SplitReader, max_records: int | None, batch: int
) -> dict[str, float]:
    """The metrics above over the records of a split, or up to `max_records` of them."""
    device = device_of(model)
    counts = LabelCounts()
    errors = {"first_layer": MeanError(), "logits": MeanError()}
    records = spread_records(reader, max_records or reader.num_records)
    for places, read in batches(reader, records, batch):
        sequences = model.normalise(torch.from_numpy(read.source).to(device))
        true = model.normalise(torch.from_numpy(read.target).to(device)).flatten(1) > 0.5
        counts = counts.plus(count_labels(model(sequences) > 0, true))
        shifts = torch.from_numpy(shifts_of(places, sequences.shape[-1])).to(device)
        moved = shifted(sequences, shifts)
        for name, plain, found in (
            ("first_layer", model.first(sequences.flatten(1)), model.first(moved.flatten(1))),
            ("logits", model(sequences), model(moved)),
        ):
            wanted = shifted(plain, shifts)
            errors[name].add(distances(wanted, found), lengths(wanted))
    return {
        "accuracy": counts.accuracy,
        "f1": counts.f1,
        "circulant_share": circulant_share(model.first.weight),
        **{f"equivariance_error/{name}": each.relative for name, each in errors.items()},
    }


def shifts_of(places: slice, length: int) -> np.ndarray:
    """The shifts of the records at these positions: 1 to L - 1 in turn, (N,) int64."""
    return np.asarray(1 + np.arange(places.start, places.stop) % (length - 1))


def shifted(sequences: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Sequences (N, ..., L), each shifted cyclically to the right by its own shift (N,)."""
    length = sequences.shape[-1]
    source = (torch.arange(length, device=shifts.device) - shifts[:, None]) % length
    index = source.view(len(shifts), *(1,) * (sequences.ndim - 2), length)
    return sequences.gather(-1, index.expand_as(sequences))


CLIPPED = 99.5
"""Percentile of magnitudes at which the colours of each panel saturate."""


def write_first_layer(path: Path, weights: torch.Tensor, title: str) -> None:
    """Heat maps of (n, n) weights, rows outputs and columns inputs, as a PNG.

    Each panel has its own colour scale, because the circulant part of noisy weights would be
    invisible on theirs.
    """
    weights = weights.detach().cpu().double()
    share = circulant_share(weights)
    panels = {
        "weights": weights.numpy(),
        f"circulant part: {share:.1%} of the energy\n(noise: {1 / len(weights):.1%})": (
            circulant_part(weights).numpy()
        ),
    }
    figure, axes = new_figure(1, 4, (8.6, 4.4), title, width_ratios=[1, 0.05, 1, 0.05])
    for column, (name, values) in enumerate(panels.items()):
        axis = axes[0, 2 * column]
        end = max(float(np.percentile(np.abs(values), CLIPPED)), 1e-12)
        image = show(axis, values, cmap="RdBu_r", vmin=-end, vmax=end)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("input", fontsize=8)
        axis.set_ylabel("output", fontsize=8)
        axes[0, 2 * column + 1].remove()
        add_scale(figure, axes[0, 0].get_gridspec()[0, 2 * column + 1], image, "")
    save_figure(figure, path)


def measure(subject: Subject) -> Findings:
    """See `pipeline.methods.sequence_labelling.final`."""
    model = _model(subject)
    return Findings(labelling_metrics(model, subject.reader, subject.max_records, subject.batch))


def draw(subject: Subject) -> None:
    """pictures/first_layer.png."""
    model, run = _model(subject), subject.run
    folder = subject.run_dir / "pictures"
    folder.mkdir(exist_ok=True)
    title = f"First layer, {model.name}, step {run.step}"
    write_first_layer(folder / "first_layer.png", model.first.weight, title)


def _model(subject: Subject) -> SequenceLabeller:
    assert isinstance(subject.run.model, SequenceLabeller)
    return subject.run.model
