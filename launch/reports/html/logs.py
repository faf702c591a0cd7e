"""Reading metrics.jsonl as arrays, fast and in any state; hours of work; downsampling for charts.

The first line of each process states a speed of 0. The time between it and the line before contains
the end of one process, the wait for the next and its start; the steps in between are assumed to
have taken the average time of this run's steps.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

NOT_METRICS = ("step", "epoch", "split")
TRAINING = b'"split": "train"'
KEPT_ALWAYS = (b'"speed/samples_per_second": 0.0',)
"""Marks of training lines that are always read: the first of each process."""


@dataclass(frozen=True)
class SplitLog:
    """The lines of one split by ascending step: steps and epochs (L,), values by metric (L,).

    A value is NaN if a line lacks the metric, or has a non-finite value.
    """

    steps: np.ndarray
    epochs: np.ndarray
    values: dict[str, np.ndarray]


@dataclass(frozen=True)
class Log:
    """All splits of a log. `stride` means that one in this many training lines was read."""

    splits: dict[str, SplitLog] = field(default_factory=dict)
    num_lines: int = 0
    num_broken: int = 0
    stride: int = 1

    def last(self, split: str) -> dict[str, float]:
        """The newest value of each metric of a split that has a finite one."""
        found = self.splits.get(split)
        values = {} if found is None else found.values
        finite = {name: x[np.isfinite(x)] for name, x in values.items()}
        return {name: float(x[-1]) for name, x in finite.items() if len(x)}


def count_lines(path: Path) -> int:
    """Lines of a file, 0 if there is none."""
    try:
        with open(path, "rb") as file:
            return sum(part.count(b"\n") for part in iter(lambda: file.read(1 << 20), b""))
    except OSError:
        return 0


def read_log(path: Path, stride: int = 1) -> Log:
    """The log at `path`, empty if there is none.

    Of training lines every `stride`-th is read, and also the first and the last, the first of each
    process, and all with non-finite values; of other splits all lines are read. A line that is not
    an object with a step is counted and left out, except a last line that is being written.
    """
    lines: dict[str, list[dict[str, Any]]] = {}
    num_lines = num_broken = 0
    skipped: bytes | None = None

    def take(line: bytes) -> None:
        nonlocal num_broken
        parsed = _parse(line)
        if parsed is None:
            num_broken += 1
        else:
            lines.setdefault(str(parsed.get("split", "train")), []).append(parsed)

    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    break
                num_lines += 1
                is_left_out = stride > 1 and number % stride and _may_be_left_out(line)
                if is_left_out:
                    skipped = line
                    continue
                skipped = None if TRAINING in line else skipped
                take(line)
    except OSError:
        return Log()
    if skipped is not None:
        take(skipped)
    splits = {split: _as_arrays(found) for split, found in lines.items()}
    return Log(splits, num_lines, num_broken, stride)


def _may_be_left_out(line: bytes) -> bool:
    is_plain = TRAINING in line and b'"nan"' not in line and b'inf"' not in line
    return is_plain and not any(mark in line for mark in KEPT_ALWAYS)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    is_line = isinstance(parsed, dict) and type(parsed.get("step")) is int
    return parsed if is_line else None


def _as_arrays(lines: list[dict[str, Any]]) -> SplitLog:
    steps = np.array([line["step"] for line in lines], np.int64)
    if (np.diff(steps) <= 0).any():
        # After two writers, or manual editing, the last line of a step counts.
        newest = {line["step"]: line for line in lines}
        lines = [newest[step] for step in sorted(newest)]
        steps = np.array(sorted(newest), np.int64)
    names = dict.fromkeys(name for line in lines for name in line if name not in NOT_METRICS)
    values = {name: as_numbers([line.get(name) for line in lines]) for name in names}
    return SplitLog(steps, as_numbers([line.get("epoch") for line in lines]), values)


def as_numbers(values: list[Any]) -> np.ndarray:
    """Values as float64; NaN for missing values and values that are not numbers."""
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError):
        return np.array([_number(value) for value in values], np.float64)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


TIME, SPEED = "time/unix", "speed/samples_per_second"


@dataclass(frozen=True)
class Clock:
    """`hours` (L,): hours of work up to each training line, without restarts.

    `lost_hours`: wall-clock time of restarts except the steps in between, including waiting.
    """

    hours: np.ndarray
    num_restarts: int
    lost_hours: float
    first_time: float
    last_time: float


def read_clock(log: SplitLog) -> Clock | None:
    """The clock of training lines, None if they have no times."""
    times = log.values.get(TIME)
    if times is None or not len(times) or not np.isfinite(times).all():
        return None
    speeds = log.values.get(SPEED, np.ones(len(times)))
    is_first = speeds == 0
    is_first[0] = True
    passed = np.diff(times, prepend=times[0])
    steps = np.diff(log.steps, prepend=0)
    usual = ~is_first & (passed >= 0)
    num_steps = int(steps[usual].sum())
    seconds_per_step = float(passed[usual].sum()) / num_steps if num_steps else 0.0
    worked = np.where(usual, passed, steps * seconds_per_step)
    lost = np.maximum(0.0, passed - worked)[1:][is_first[1:]]
    return Clock(
        hours=np.cumsum(worked) / 3600,
        num_restarts=int(is_first[1:].sum()),
        lost_hours=float(lost.sum()) / 3600,
        first_time=float(times[0]),
        last_time=float(times[-1]),
    )


def steps_per_epoch(log: SplitLog) -> float | None:
    """Steps of an epoch, from the line that ends the last complete one; None before that."""
    rises = np.flatnonzero(np.diff(log.epochs, prepend=0) > 0)
    if not len(rises):
        return None
    epoch = float(log.epochs[rises[-1]])
    return float(log.steps[rises[-1]]) / epoch if epoch > 0 else None


@dataclass(frozen=True)
class Buckets:
    """A division of L ordered points into M buckets: bucket i lies between edges i and i + 1."""

    edges: np.ndarray
    """Positions (M + 1,) int64, from 0 to L."""

    @property
    def num_points(self) -> int:
        """M."""
        return len(self.edges) - 1

    @property
    def is_thinned(self) -> bool:
        """Whether a bucket has more than one point."""
        return bool(self.edges[-1] > self.num_points)

    @property
    def most(self) -> int:
        """The most points of a bucket, 0 without points."""
        return int(np.diff(self.edges).max()) if self.num_points else 0


@dataclass(frozen=True)
class Thinned:
    """Mean, least and greatest value of each bucket (M,); NaN if it has no finite value."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def make_buckets(num_points: int, max_points: int) -> Buckets:
    """At most `max_points` buckets whose sizes differ by at most one."""
    num = min(num_points, max_points)
    return Buckets(np.arange(num + 1, dtype=np.int64) * num_points // max(1, num))


def bucket_means(values: np.ndarray, buckets: Buckets) -> Thinned:
    """Values (L,) by bucket; non-finite values do not count."""
    starts = buckets.edges[:-1]
    if not len(starts):
        empty = np.zeros(0)
        return Thinned(empty, empty, empty)
    finite = np.isfinite(values)
    counts = np.add.reduceat(finite.astype(np.int64), starts)
    sums = np.add.reduceat(np.where(finite, values, 0.0), starts)
    low = np.minimum.reduceat(np.where(finite, values, np.inf), starts)
    high = np.maximum.reduceat(np.where(finite, values, -np.inf), starts)
    some = counts > 0
    mean = np.where(some, sums / np.maximum(counts, 1), np.nan)
    low, high = np.where(some, low, np.nan), np.where(some, high, np.nan)
    # Sums round: a mean of equal values must not leave their range.
    return Thinned(np.clip(mean, low, high), low, high)
