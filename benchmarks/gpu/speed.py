"""How fast a training step is on a device: through the loader, and on tensors that lie there."""

import gc
import statistics
import sys
from pathlib import Path

import torch
from measuring import take_turns
from trainer_laps import TrainerLaps, alone

from gpu.found import data_of, resident
from gpu.plan import Job, Sizes, words_of

WARM_STEPS = 5
"""Enough for CUDA graphs: a run before they are recorded, the recording, and replays."""

MAX_STEPS = 5000


def measure_speed(
    job: Job, folder: Path, device: str, sizes: Sizes
) -> tuple[dict[str, float], str]:
    """Records a second and more of a job, and why what is missing is missing.

    `resident`, `loader` are rates; `wait` is the share of a lap spent waiting for the loader;
    `first_s` the seconds of the first steps, compilation included; `step_ms` a step on resident
    tensors; `memory_mib` the most that tensors took on a GPU, `device_mib` all that is taken
    there when the laps are over.
    """
    forget_compiled()
    try:
        return _measure(job, folder, device, sizes)
    finally:
        forget_compiled()


def _measure(job: Job, folder: Path, device: str, sizes: Sizes) -> tuple[dict[str, float], str]:
    assert job.workload is not None
    where = alone(device)
    data, run_dir = data_of(job.workload, folder), folder / "runs" / job.folder
    laps = TrainerLaps(data, run_dir, words_of(job, device), where, WARM_STEPS)
    here = resident(laps.batches, where.device)
    laps.lap(here)
    values = {"first_s": laps.step_seconds[-1] * WARM_STEPS}
    laps.lap(here)
    seconds = laps.step_seconds[-1]
    laps.num_steps = max(1, min(MAX_STEPS, int(sizes.lap_s / seconds)))
    contenders = {"resident": lambda: laps.lap(here)}
    note = ""
    try:
        loader = laps.loader
    except ImportError as error:
        note = f"without the loader: {error}"
    else:
        contenders["loader"] = lambda: laps.lap(loader)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    laps.wait_shares.clear()
    laps.step_seconds.clear()
    rates = take_turns(contenders, sizes.num_rounds)
    values |= {name: statistics.median(found) for name, found in rates.items()}
    values["step_ms"] = 1000 * job.workload.batch / values["resident"]
    if "loader" in rates:
        # A round has a lap of each; the first round is not counted.
        values["wait"] = statistics.median(laps.wait_shares[len(contenders) + 1 :: 2])
    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        values["memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
        values["device_mib"] = (total - free) / 2**20
    return values, note


def forget_compiled() -> None:
    """Shapes seen before would make the compiler write code for any shape; memory is given back."""
    if "torch._dynamo" in sys.modules:  # Importing it only to reset it takes seconds.
        torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
