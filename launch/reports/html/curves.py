"""Learning curves for the pages: one set of series for each metric.

Series of runs that were logged at the same steps share one grid of steps, so that the page can
combine their values.

The costs of runs: speed, waiting for data, memory, restarts, hours of devices.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from launch.jobs.history import Attempt
from launch.reports.collecting import Run, stated_by
from launch.reports.html.gathering import Gathered, RunRecord
from launch.reports.html.logs import (
    SPEED,
    TIME,
    SplitLog,
    as_numbers,
    bucket_means,
    make_buckets,
    steps_per_epoch,
)
from launch.reports.html.names import section_order
from orbit.core.metrics import Metric

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


MAX_POINTS = 1000
MIN_POINTS = 20
MAX_NUMBERS = 1_000_000
"""The most numbers of all curves together, at about 7 bytes each."""
MAX_RUNS_WITH_EXTREMES = 24
"""With more runs than this, the least and greatest values of a point are left out."""
MAX_HOURS_POINTS = 120
DIGITS = 5
SPLITS = ("train", "val", "test")

Series = dict[str, Any]
"""run: its number; split; grid: number of its steps; y: means; and, if points are means of several
logged values, low and high, and each: the most values of one point."""


@dataclass
class Curves:
    """Grids of steps, series by metric, and the axes of each run."""

    max_points: int
    has_extremes: bool = True
    grids: list[list[float]] = field(default_factory=list)
    series: dict[str, list[Series]] = field(default_factory=dict)
    num_not_finite: dict[str, int] = field(default_factory=dict)
    stated: tuple[Metric, ...] = ()

    @property
    def metrics(self) -> list[str]:
        """All metrics with a curve, in the order of the page."""
        return sorted(self.series, key=lambda name: section_order(name, self.stated))

    @functools.cached_property
    def files(self) -> dict[str, str]:
        """File names, without ending, of each metric's series; asked for when all are there."""
        return {name: f"curve-{number:03d}" for number, name in enumerate(self.metrics)}

    @functools.cached_property
    def splits_by_run(self) -> dict[int, dict[str, set[str]]]:
        """The splits of each metric by the number of a run, metrics in the order of the page."""
        found: dict[int, dict[str, set[str]]] = {}
        for name in self.files:
            for one in self.series[name]:
                found.setdefault(one["run"], {}).setdefault(name, set()).add(one["split"])
        return found

    @property
    def most(self) -> int:
        """The most logged values of one point; 1 if all are shown."""
        return max((one.get("each", 1) for all_ in self.series.values() for one in all_), default=1)


def points_per_curve(num_curves: int, has_extremes: bool) -> int:
    """How many points each curve may have."""
    num_numbers = MAX_NUMBERS // max(1, num_curves * (3 if has_extremes else 1))
    return min(MAX_POINTS, max(MIN_POINTS, num_numbers))


def make_curves(gathered: Gathered) -> Curves:
    """The curves of everything that was logged, with evaluations at their steps."""
    logs = [
        (record, split, log)
        for record in gathered.records
        for split, log in [*record.log.splits.items(), *_tests(record.run)]
    ]
    has_extremes = len(gathered.records) <= MAX_RUNS_WITH_EXTREMES
    num_curves = sum(len(log.values) for _, _, log in logs)
    stated = stated_by(record.run for record in gathered.records)
    curves = Curves(points_per_curve(num_curves, has_extremes), has_extremes, stated=stated)
    grid_numbers: dict[bytes, int] = {}
    for record, split, log in logs:
        _add(curves, grid_numbers, record, split, log)
    # A metric with a single step makes no curve.
    curves.series = {
        name: found
        for name, found in curves.series.items()
        if any(len(one["y"]) > 1 for one in found)
    }
    return curves


def _add(
    curves: Curves, numbers: dict[bytes, int], record: RunRecord, split: str, log: SplitLog
) -> None:
    buckets = make_buckets(len(log.steps), curves.max_points)
    grid = bucket_means(log.steps.astype(np.float64), buckets).mean
    key = log.steps.tobytes()
    if key not in numbers:
        numbers[key] = len(curves.grids)
        curves.grids.append([_rounded_step(step) for step in grid])
    for name, values in log.values.items():
        if name == TIME:
            continue
        thinned = bucket_means(values, buckets)
        num_bad = int((~np.isfinite(values)).sum())
        if num_bad == len(values):
            continue
        one: Series = {"run": record.number, "split": split, "grid": numbers[key]}
        one |= {"y": rounded(thinned.mean)}
        if buckets.is_thinned:
            one |= {"each": buckets.most}
            if curves.has_extremes:
                one |= {"low": rounded(thinned.low), "high": rounded(thinned.high)}
        curves.series.setdefault(name, []).append(one)
        if num_bad:
            curves.num_not_finite[name] = curves.num_not_finite.get(name, 0) + num_bad


def _tests(run: Run) -> Iterator[tuple[str, SplitLog]]:
    """Evaluations on the test split, which logs do not hold, in the form of logged values."""
    by_step = {
        each.step: each.metrics
        for each in run.evaluations
        if each.is_own_data and each.split == "test"
    }
    if by_step:
        steps = sorted(by_step)
        names = dict.fromkeys(name for step in steps for name in by_step[step])
        values = {name: as_numbers([by_step[step].get(name) for step in steps]) for name in names}
        yield "test", SplitLog(np.array(steps, np.int64), np.full(len(steps), np.nan), values)


def axes_of(record: RunRecord) -> dict[str, Any]:
    """The conversion of a run's steps into epochs, pairs and hours; None if it is not known.

    `hours` are two lists, steps and hours of work, to interpolate between.
    """
    train = record.log.splits.get("train")
    epoch = steps_per_epoch(train) if train is not None and len(train.steps) else None
    batch = record.run.config.get("global_batch")
    hours = None
    if record.clock is not None and train is not None:
        # Ends of buckets, so that the last is the end of the run.
        buckets = make_buckets(len(train.steps), MAX_HOURS_POINTS)
        ends = buckets.edges[1:] - 1
        hours = [
            [0, *train.steps[ends].tolist()],
            [0, *rounded(record.clock.hours[ends])],
        ]
    return {
        "stepsPerEpoch": epoch,
        "batch": batch if isinstance(batch, int) else None,
        "hours": hours,
    }


def rounded(values: np.ndarray) -> list[float | None]:
    """Numbers with a few digits, None for non-finite ones."""
    return [_short(value) for value in values.tolist()]


def _short(value: float) -> float | int | None:
    if value != value or value in (float("inf"), float("-inf")):
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def _rounded_step(step: float) -> float | int:
    return int(step) if float(step).is_integer() else round(float(step), 1)
