"""From a job to what does it. Nothing slow is imported before it is needed."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gpu.plan import DRY_SIZES, SIZES, Job, Outcome, Sizes

if TYPE_CHECKING:
    from gpu.found import Found


def perform(job: Job, folder: Path, device: str) -> Outcome:
    """Do a job on `cuda` or, for a dry run, on `cpu`; its files lie in `folder`."""
    started = time.monotonic()
    refusal = not_on(job, device)
    if refusal:
        return Outcome(job, "not run", note=refusal)
    sizes = SIZES if device == "cuda" else DRY_SIZES
    if job.kind == "tests":
        from gpu.suite import run_gpu_tests

        state, values, note = run_gpu_tests(folder, job.limit_s)
        return Outcome(job, state, time.monotonic() - started, values, note)
    if job.kind == "speed":
        from gpu.speed import measure_speed

        values, note = measure_speed(job, folder, device, sizes)
        return Outcome(job, "measured", time.monotonic() - started, values, note)
    if job.kind == "data":
        from gpu.data import make_data

        assert job.workload is not None
        make_data(job.workload, folder)
        return Outcome(job, "passed", time.monotonic() - started)
    found = _check_of(job)(job, folder, device, sizes)
    state = "passed" if found.is_met else "failed"
    return Outcome(job, state, time.monotonic() - started, found.values, found.note)


def _check_of(job: Job) -> Callable[[Job, Path, str, Sizes], "Found"]:
    from gpu import running, values

    checks = {
        "values": values.check_values,
        "compiled": values.check_compiled,
        "scaling": values.check_scaling,
        "resume": running.check_resume,
        "loading": running.check_loading,
    }
    return checks[job.kind]


def not_on(job: Job, device: str) -> str:
    """Why a device cannot do a job; empty if it can."""
    if job.precision == "tf32":
        import torch

        from pipeline.training.lifecycle import check_precision

        try:
            check_precision("tf32", torch.device(device))
        except ValueError as error:
            return str(error)
    if job.compile == "cuda_graphs" and device == "cpu":
        return "CUDA graphs need a GPU"
    return ""
