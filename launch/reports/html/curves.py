"""Learning curves for the pages: one set of series for each metric.

Series of runs that were logged at the same steps share one grid of steps, so that the page can
combine their values.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from launch.reports.collecting import Run, stated_by
from launch.reports.html.gathering import Gathered, RunRecord
from launch.reports.html.logs import (
    TIME,
    SplitLog,
    as_numbers,
    bucket_means,
    make_buckets,
    steps_per_epoch,
)
from launch.reports.html.names import section_order
from orbit.core.metrics import Metric

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
