"""What a check finds, and what all checks begin with: data made anew, batches on the device.

Those are read once, without DALI.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from measuring import prepare
from synthetic import make_dataset
from trainer_laps import alone, make_config, make_trainer

from gpu.plan import Job, Sizes, Workload, as_folder, words_of
from pipeline.data.batches import TrainBatches
from pipeline.data.loader import batches_layout
from pipeline.data.packing import Batch
from pipeline.training.settings import TrainConfig

HELD_OUT = 4
"""Images of validation and of test: a few, nothing here reads them."""


def data_of(workload: Workload, folder: Path) -> Path:
    """Where the data of a workload lies."""
    return folder / "data" / as_folder(workload.name)


def make_data(workload: Workload, folder: Path) -> None:
    """Noise in the shape of its frames with all quarter turns, or a world by the program.

    Raises ImportError where the program cannot be started for lack of a package.
    """
    out = data_of(workload, folder)
    if workload.frame is None:
        importlib.import_module("hydra")
        prepare(out, list(workload.prepare))
    else:
        make_dataset(out, workload.frame, workload.num_sources, HELD_OUT)


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


@dataclass
class Found:
    """Whether a check is met, its numbers by name, and what was wrong or left out."""

    is_met: bool
    values: dict[str, float] = field(default_factory=dict)
    note: str = ""


def config_of(
    job: Job, folder: Path, device: str, *words: str, run_name: str = "run"
) -> TrainConfig:
    """The configuration of a job's training; further words win."""
    assert job.workload is not None
    run_dir = folder / "runs" / job.folder / run_name
    return make_config(data_of(job.workload, folder), run_dir, [*words_of(job, device), *words])


def first_records(job: Job, folder: Path, sizes: Sizes) -> Batch:
    """The first records of a job's training, on the CPU, as many as are compared."""
    assert job.workload is not None
    num = sizes.compared(job.workload)
    _, batches = make_trainer(config_of(job, folder, "cpu", f"global_batch={num}"), alone())
    return read_batch(batches, 0, torch.device("cpu"))
