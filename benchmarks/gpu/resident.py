"""Batches read once, without DALI, and kept on the device."""

from collections.abc import Sequence

import numpy as np
import torch

from pipeline.data.batches import TrainBatches
from pipeline.data.loader import batches_layout
from pipeline.data.packing import Batch

NUM_RESIDENT = 4


def read_batch(batches: TrainBatches, step: int, device: torch.device) -> Batch:
    """The batch of a step as the loader would hand it over."""
    layout = batches_layout(batches, 1)
    buffer = np.zeros(layout.num_bytes, np.uint8)
    records, valid = layout.as_records(buffer)
    batches.read(step, records, valid)
    return layout.as_batch(torch.from_numpy(buffer).to(device))


class ResidentBatches:
    """Batches on the device, again and again, from the one of `first_step` on."""

    wait_s = 0.0

    def __init__(self, batches: Sequence[Batch], first_step: int = 0) -> None:
        self._batches, self._step = batches, first_step

    def __next__(self) -> Batch:
        batch = self._batches[self._step % len(self._batches)]
        self._step += 1
        return batch


def resident(batches: TrainBatches, device: torch.device, first_step: int = 0) -> ResidentBatches:
    """The first few batches, kept on the device."""
    return ResidentBatches(
        [read_batch(batches, step, device) for step in range(NUM_RESIDENT)], first_step
    )
