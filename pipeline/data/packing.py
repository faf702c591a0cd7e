"""Batches as one flat buffer of bytes.

DALI has a fixed cost for every sample and every output of a batch. One buffer with a whole batch,
or with those of several consecutive steps, is one sample of one output, and a single copy to the
device.
"""

import math
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
