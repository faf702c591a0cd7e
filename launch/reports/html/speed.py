"""The costs of runs: speed, waiting for data, memory, restarts, hours of devices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from launch.jobs.history import Attempt
from launch.reports.html.gathering import RunRecord
from launch.reports.html.logs import SPEED

WAIT = "speed/data_wait_share"
HOST_MEMORY, GPU_MEMORY = "memory/resident_peak_mib", "memory/gpu_peak_mib"


@dataclass(frozen=True)
class Cost:
    """The costs of one run; None means not known. `device_hours` are the hours of all ranks
    together.

    `lost_hours` is the wall-clock time of restarts without the steps in between; `waiting_hours` of
    it passed between the end of one attempt and the start of the next.
    """

    record: RunRecord
    samples_per_second: float | None
    wait_share: float | None
    host_mib: float | None
    gpu_mib: float | None
    work_hours: float | None
    num_restarts: int
    lost_hours: float | None
    waiting_hours: float | None
    num_ranks: int | None
    device_hours: float | None
    is_gpu: bool
    device: str


@dataclass(frozen=True)
class Totals:
    """Sums over runs."""

    gpu_hours: float
    cpu_hours: float
    lost_hours: float
    num_restarts: int
    num_runs: int


def cost_of(record: RunRecord) -> Cost:
    """What a run cost, from its log, its environment and its attempts."""
    train = record.log.splits.get("train")
    values = {} if train is None else train.values
    speeds = values.get(SPEED, np.zeros(0))
    is_measured = np.isfinite(speeds) & (speeds > 0)
    waits = values.get(WAIT, np.zeros(0))
    waits = waits[np.isfinite(waits)]
    clock = record.clock
    work = float(clock.hours[-1]) if clock is not None else None
    ranks = record.environment.get("world_size")
    ended = _ends(record.attempts, clock.last_time if clock is not None else None)
    device_hours = None
    if record.attempts:
        pairs = zip(record.attempts, ended, strict=True)
        device_hours = sum(max(0.0, end - one.started) * one.num_ranks for one, end in pairs) / 3600
    elif work is not None and isinstance(ranks, int):
        device_hours = work * ranks
    gpu = record.environment.get("gpu")
    return Cost(
        record=record,
        samples_per_second=float(np.median(speeds[is_measured])) if is_measured.any() else None,
        wait_share=float(waits.mean()) if len(waits) else None,
        host_mib=_highest(values.get(HOST_MEMORY)),
        gpu_mib=_highest(values.get(GPU_MEMORY)),
        work_hours=work,
        num_restarts=max(record.state.num_restarts, clock.num_restarts if clock else 0),
        lost_hours=clock.lost_hours if clock is not None else None,
        waiting_hours=_waiting_hours(record.attempts, ended) if record.attempts else None,
        num_ranks=ranks if isinstance(ranks, int) else None,
        device_hours=device_hours,
        is_gpu=bool(gpu) and record.environment.get("device") != "cpu",
        device=str(gpu or record.environment.get("processor") or ""),
    )


def total(costs: Sequence[Cost]) -> Totals:
    """Sums, with GPUs and CPUs separate."""
    return Totals(
        gpu_hours=sum(cost.device_hours or 0.0 for cost in costs if cost.is_gpu),
        cpu_hours=sum(cost.device_hours or 0.0 for cost in costs if not cost.is_gpu),
        lost_hours=sum(cost.lost_hours or 0.0 for cost in costs),
        num_restarts=sum(cost.num_restarts for cost in costs),
        num_runs=len(costs),
    )


def _ends(attempts: Sequence[Attempt], last_time: float | None) -> list[float]:
    """The end of each attempt; one without a record lasted until the next one or the last line."""
    ends = []
    for number, attempt in enumerate(attempts):
        following = attempts[number + 1].started if number + 1 < len(attempts) else last_time
        end = attempt.ended if attempt.ended is not None else following
        ends.append(attempt.started if end is None else max(end, attempt.started))
    return ends


def _waiting_hours(attempts: Sequence[Attempt], ends: Sequence[float]) -> float:
    gaps = [later.started - end for later, end in zip(attempts[1:], ends[:-1], strict=True)]
    return sum(max(0.0, gap) for gap in gaps) / 3600


def _highest(values: np.ndarray | None) -> float | None:
    finite = values[np.isfinite(values)] if values is not None else np.zeros(0)
    return float(finite.max()) if len(finite) else None
