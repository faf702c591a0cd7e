"""Part (h): a GPU is right, then how fast it is; within one budget of time."""

import importlib.util
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from measuring import Check, PartReport, Row

from gpu.plan import (
    DRY_PATIENCE,
    DRY_WORKLOADS,
    MINUTES,
    RESERVE_S,
    WORKLOADS,
    Budget,
    Job,
    Outcome,
    check_lanes,
    run_jobs,
    speed_jobs,
)
from gpu.table import as_details, gpu_table, rate_of
from gpu.worker import Perform, Worker, perform

TITLE = "(h) A GPU: right, then fast"
WANTED = ("nvidia.dali", "hydra", "submitit", "pytest", "triton", "hypothesis", "tensorboard")
SAME_BITS = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
"""Read by cuBLAS once a process. Measurements go without."""

CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


def measure_gpu(device: str, minutes: float = MINUTES) -> PartReport:
    """`device` is `cuda`, `cpu` for a dry run at tiny sizes, or `auto`: a GPU or not at all.

    Takes so many minutes at most, in the order of `gpu/plan.py`.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda, but torch sees no GPU here; allowed: auto, cpu")
    if device == "auto" and not torch.cuda.is_available():
        why = "torch sees no CUDA device here; device=cpu proves the script without one"
        return PartReport(f"{TITLE}: skipped", notes=[f"Skipped: {why}."])
    chosen = "cpu" if device == "cpu" else "cuda"
    workloads = DRY_WORKLOADS if chosen == "cpu" else WORKLOADS
    tests, others = check_lanes(workloads)
    jobs = [tests, others, speed_jobs(workloads)]
    if chosen == "cpu":
        jobs = [[replace(job, limit_s=DRY_PATIENCE * job.limit_s) for job in some] for some in jobs]
    budget = Budget(60 * minutes - RESERVE_S)
    with tempfile.TemporaryDirectory() as name:
        outcomes = do_all(jobs[:2], jobs[2], budget, Path(name), chosen)
    return report_of(outcomes, chosen)


def do_all(
    lanes: Sequence[Sequence[Job]],
    speeds: Sequence[Job],
    budget: Budget,
    folder: Path,
    device: str,
    perform_: Perform = perform,
) -> list[Outcome]:
    """Checks in lanes side by side, each in a process of its own; then, alone, what is measured."""

    # Compiled code of one's own: a cache of others may be damaged, or hide what compiling takes.
    caches = {name: str(folder / "compiled") for name in CACHES}

    def run_lane(jobs: Sequence[Job]) -> list[Outcome]:
        worker = Worker(perform_, folder, device, caches | SAME_BITS)
        try:
            return run_jobs(jobs, budget, worker)
        finally:
            worker.close()

    with ThreadPoolExecutor(len(lanes)) as pool:
        checked = [outcome for lane in pool.map(run_lane, lanes) for outcome in lane]
    worker = Worker(perform_, folder, device, caches)
    try:
        return checked + run_jobs(speeds, budget, worker, checked)
    finally:
        worker.close()


def report_of(outcomes: Sequence[Outcome], device: str) -> PartReport:
    """The part's report: a broken one where a check failed."""
    where = describe_device(device)
    report = PartReport(TITLE, notes=[f"Device: {where}.", *missing_packages()])
    num_failed = sum(outcome.state == "failed" for outcome in outcomes)
    for outcome in outcomes:
        if outcome.state == "measured":
            rate = rate_of(outcome)
            report.rows.append(Row(outcome.job.name, rate, rate, "samples/s"))
    report.checks.append(Check("checks and measurements that failed", 0, num_failed, True))
    report.table = gpu_table(outcomes, where, device == "cpu")
    report.details = as_details(outcomes)
    report.is_broken = num_failed > 0
    return report


def describe_device(device: str) -> str:
    """A GPU with memory, capability, driver's CUDA and cuDNN; or the CPU."""
    import torch

    if device == "cpu":
        return "a CPU"
    found = torch.cuda.get_device_properties(0)
    return (
        f"one {found.name} ({found.total_memory / 2**30:.0f} GiB, compute capability"
        f" {found.major}.{found.minor}), torch {torch.__version__}, CUDA {torch.version.cuda},"
        f" cuDNN {torch.backends.cudnn.version()}"
    )


def missing_packages() -> list[str]:
    """A sentence for packages that are not here, without which some jobs are not run."""
    missing = [name for name in WANTED if not _is_here(name)]
    return [f"Not installed here: {', '.join(missing)}."] if missing else []


def _is_here(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # Its parent is missing.
        return False
