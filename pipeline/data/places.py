"""How many records go through a model, or through a metric, at a time where nothing is learned.

For models, a pure function of sizes, the same on every rank. What a batch takes in memory grows
with its frames, by a factor that only the model knows; what is known is that a training step at
the run's own local batch fits, and takes several times what a forward pass alone takes. So frames
go through as many at a time as in training, and only small ones, whose batches cost nothing
beside the program itself, more at a time.
"""

import math
from collections.abc import Iterator

import torch

MOST_PLACES = 256
"""Over all ranks; more at a time is not faster."""
SMALL_BATCH_BYTES = 2**20
"""Frames of a batch, in float32, that count for nothing on one rank."""
MOST_TIMES_LOCAL = 4
"""Small frames too go through no more than so many times as many as in training."""
VALUE_BYTES = 4
CACHED_VALUES, GPU_VALUES = 1 << 17, 1 << 22
"""Numbers that stay in a processor's cache with what is made of them, and that keep a GPU busy."""


def places_at_once(frame_shape: tuple[int, ...], local_batch: int, world_size: int = 1) -> int:
    """Records of one rank's batch, at least 1, for frames (C, ...) and a run whose training steps
    take `local_batch` records on each rank."""
    frame_bytes = math.prod(frame_shape) * VALUE_BYTES
    num_small = min(SMALL_BATCH_BYTES // frame_bytes, MOST_TIMES_LOCAL * local_batch)
    return max(1, min(-(-MOST_PLACES // world_size), max(num_small, local_batch)))


def global_places(num_records: int, places: int, world_size: int) -> int:
    """Places of a global batch for a pass over `num_records` by batches of up to `places` records
    a rank: in as few steps as that takes, with as few places left over as ranks allow."""
    num_steps = max(1, -(-num_records // (places * world_size)))
    return max(1, -(-num_records // (num_steps * world_size))) * world_size


def local_batch_of(global_batch: int, accumulation: int, world_size: int) -> int:
    """Records of which one rank keeps what it needs for the gradient at a time."""
    return max(1, global_batch // accumulation // world_size)


def slices(num: int, places: int) -> Iterator[slice]:
    """Slices of `num` records, up to `places` at a time."""
    for first in range(0, num, places):
        yield slice(first, min(num, first + places))


def slices_in_cache(values: torch.Tensor) -> Iterator[slice]:
    """Slices of the rows of (N, ...), one row at least, for passes as fast as memory."""
    most = GPU_VALUES if values.is_cuda else CACHED_VALUES
    return slices(len(values), max(1, most // max(1, math.prod(values.shape[1:]))))
