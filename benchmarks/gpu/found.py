"""What a check finds, and what all checks begin with."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from trainer_laps import alone, make_config, make_trainer

from gpu.data import data_of
from gpu.plan import Job, Sizes, words_of
from gpu.resident import read_batch
from pipeline.data.packing import Batch
from pipeline.training.settings import TrainConfig


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
