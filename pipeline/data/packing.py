"""Batches as one flat buffer of bytes, and how many records are processed at a time.

DALI has a fixed cost for every sample and every output of a batch. One buffer with a whole batch,
or with those of several consecutive steps, is one sample of one output, and a single copy to the
device.

How many records a model processes at a time outside of training steps is a pure function of sizes,
the same on every rank. The memory of a batch grows with its frames, by a factor that only the model
knows. But a training step with the run's local batch fits into memory, and takes several times the
memory of a forward pass. So as many frames are processed at a time as in training, and more only if
frames are so small that their memory is negligible.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from orbit.core.store.manifest import FrameSpec
from orbit.core.store.reader import Records

ALIGNMENT = 64


class Batch(NamedTuple):
    """One rank's share of a global batch, on the device.

    `source`, `target` (B, C, H, W) or (B, C, D, H, W) as stored; `action` (B, A) float32; `label`
    (B,) int64; `valid` (B,) float32, 0 for padding. If targets are made on the device, `target` is
    (B, 0) until then.
    """

    source: torch.Tensor
    target: torch.Tensor
    action: torch.Tensor
    label: torch.Tensor
    valid: torch.Tensor

    def parts(self, num_parts: int) -> list["Batch"]:
        """Equal parts along the batch axis, for gradient accumulation or of several steps."""
        if num_parts == 1:
            return [self]
        return [Batch(*part) for part in zip(*(x.chunk(num_parts) for x in self), strict=True)]


@dataclass(frozen=True)
class Field:
    """The position of an array in the buffer."""

    shape: tuple[int, ...]
    dtype: str
    start: int
    num_bytes: int


class BatchLayout:
    """The positions of a batch's arrays in one buffer of `num_bytes`, with or without target
    frames."""

    def __init__(
        self,
        frames: FrameSpec,
        num_action_components: int,
        batch_size: int,
        has_targets: bool = True,
    ) -> None:
        target_shape = frames.shape if has_targets else (0,)
        arrays = (
            ((batch_size, *frames.shape), frames.dtype),
            ((batch_size, *target_shape), frames.dtype),
            ((batch_size, num_action_components), "float32"),
            ((batch_size,), "int64"),
            ((batch_size,), "float32"),
        )
        self.num_places = batch_size
        self.fields: list[Field] = []
        start = 0
        for shape, dtype in arrays:
            num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
            self.fields.append(Field(shape, dtype, start, num_bytes))
            start += -(-num_bytes // ALIGNMENT) * ALIGNMENT
        self.num_bytes = start

    def as_records(self, buffer: np.ndarray) -> tuple[Records, np.ndarray]:
        """Views of a (..., num_bytes) uint8 array: the records and their `valid` weights.

        Leading axes of the buffers become leading axes of the arrays.
        """
        *records, valid = (
            buffer[..., field.start : field.start + field.num_bytes]
            .view(field.dtype)
            .reshape(*buffer.shape[:-1], *field.shape)
            for field in self.fields
        )
        return Records(*records), valid

    def as_batch(self, buffer: torch.Tensor) -> Batch:
        """Views of a (num_bytes,) uint8 tensor on any device."""
        return Batch(
            *(
                buffer[field.start : field.start + field.num_bytes]
                .view(getattr(torch, field.dtype))
                .view(field.shape)
                for field in self.fields
            )
        )


MOST_PLACES = 256
"""The most records at a time over all ranks; more is not faster."""
SMALL_BATCH_BYTES = 2**20
"""Bytes of a batch's frames, in float32, that are negligible on one rank."""
MOST_TIMES_LOCAL = 4
"""Even small frames are at most this many times as many as in training."""
VALUE_BYTES = 4
CACHED_VALUES, GPU_VALUES = 1 << 17, 1 << 22
"""Numbers of values that stay in a processor's cache with their results, and that keep a GPU
busy."""
PASS_VALUES = 1 << 18
"""Values of frames up to which a forward pass on a CPU is faster with more records. Beyond this,
the outputs of layers are fresh memory each time and leave the cache before they are read."""


def places_at_once(frame_shape: tuple[int, ...], local_batch: int, world_size: int = 1) -> int:
    """Records of one rank's batch, at least 1, for frames (C, ...) and a run whose training steps
    take `local_batch` records on each rank."""
    frame_bytes = math.prod(frame_shape) * VALUE_BYTES
    num_small = min(SMALL_BATCH_BYTES // frame_bytes, MOST_TIMES_LOCAL * local_batch)
    return max(1, min(-(-MOST_PLACES // world_size), max(num_small, local_batch)))


def global_places(num_records: int, places: int, world_size: int) -> int:
    """The size of a global batch for a pass over `num_records` with at most `places` records per
    rank: the fewest steps, with the least padding that the ranks allow."""
    num_steps = max(1, -(-num_records // (places * world_size)))
    return max(1, -(-num_records // (num_steps * world_size))) * world_size


def local_batch_of(global_batch: int, accumulation: int, world_size: int) -> int:
    """Records for which one rank keeps activations for the gradient at a time."""
    return max(1, global_batch // accumulation // world_size)


def slices(num: int, places: int) -> Iterator[slice]:
    """Slices over `num` records, up to `places` at a time."""
    for first in range(0, num, places):
        yield slice(first, min(num, first + places))


def slices_in_cache(values: torch.Tensor) -> Iterator[slice]:
    """Slices of the rows of (N, ...), at least one row each, that fit into the cache."""
    most = GPU_VALUES if values.is_cuda else CACHED_VALUES
    return slices(len(values), max(1, most // max(1, math.prod(values.shape[1:]))))


def parts_of_pass(frames: torch.Tensor) -> Iterator[slice]:
    """Slices of about equal size of a batch's frames (N, C, ...), for one forward pass each: all
    of them on a GPU, and on a CPU as many as are fastest."""
    num = len(frames)
    most = max(1, PASS_VALUES // math.prod(frames.shape[1:]))
    num_parts = 1 if frames.is_cuda else -(-num // most)
    return slices(num, max(1, -(-num // max(1, num_parts))))
