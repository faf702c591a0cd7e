"""How well places of sequences are labelled, and how the first layer takes to shifts.

accuracy, f1            over all places of all sequences, cut at a probability of one half
circulant_share         of the first layer's energy: 1 for a cyclic convolution, 1/L for noise
equivariance_error/...  |f(shifted x) - shifted f(x)| by the norm of f(x), where f is the
                        `first_layer` or all of the network (`logits`), shifts in turn
"""

import numpy as np
import torch

from data_prep.store.reader import SplitReader
from pipeline.analysis.records import batches, device_of, spread_records
from pipeline.metrics.circulant import circulant_share
from pipeline.metrics.differences import MeanError, distances, lengths
from pipeline.metrics.labels import LabelCounts, count_labels
from pipeline.tasks.sequence_labelling.network import SequenceLabeller


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
    """How far the records at these places are shifted: 1 to L - 1 in turn, (N,) int64."""
    return np.asarray(1 + np.arange(places.start, places.stop) % (length - 1))


def shifted(sequences: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Sequences (N, ..., L), each moved to the right around its end by its own shift (N,)."""
    length = sequences.shape[-1]
    source = (torch.arange(length, device=shifts.device) - shifts[:, None]) % length
    index = source.view(len(shifts), *(1,) * (sequences.ndim - 2), length)
    return sequences.gather(-1, index.expand_as(sequences))
