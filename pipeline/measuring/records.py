"""Which records an analysis reads, and reading them in batches."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from orbit.core.store.reader import Records, SplitReader

SEED = 0
RECORD_STREAM, ELEMENT_STREAM, PARTNER_STREAM = 0, 1, 2


def spread(total: int, num: int) -> np.ndarray:
    """`num` of `total` positions (all, if there are fewer), ascending, int64.

    One is drawn from each of `num` equal stretches: an even step would keep time with
    records that come in runs, and meet one element of the group only.
    """
    num = min(num, total)
    edges = np.arange(num + 1) * total // num
    return np.random.default_rng([SEED, RECORD_STREAM]).integers(edges[:-1], edges[1:])


def spread_records(reader: SplitReader, num: int) -> np.ndarray:
    """Numbers of up to `num` records all over a split, (N,) int64."""
    return spread(reader.num_records, num)


def spread_sources(reader: SplitReader, num: int | None = None) -> np.ndarray:
    """Numbers of records of up to `num` source frames (all for None), (N,) int64.

    Each frame comes once where records come in runs that share one; otherwise these
    are records like any others.
    """
    length = reader.records_per_source or 1
    total = reader.num_records // length
    return spread(total, total if num is None else num) * length


def partners(num: int) -> np.ndarray:
    """A fixed permutation of `num` positions that leaves none in place, (N,) int64.

    It is one cycle, drawn by a fixed seed. ValueError for fewer than two positions.
    """
    if num < 2:
        raise ValueError(f"{num} record has no partner to swap with")
    order = np.random.default_rng([SEED, PARTNER_STREAM]).permutation(num)
    partner = np.empty(num, np.int64)
    partner[order] = np.roll(order, -1)
    return partner


def batches(
    reader: SplitReader, records: np.ndarray, batch: int
) -> Iterator[tuple[slice, Records]]:
    """The records `batch` at a time, each with their places among `records`."""
    for first in range(0, len(records), batch):
        places = slice(first, min(first + batch, len(records)))
        yield places, reader.read(records[places])


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters are."""
    return next(model.parameters()).device
