"""metrics.jsonl as arrays, read fast and in any state."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

NOT_METRICS = ("step", "epoch", "split")
TRAINING = b'"split": "train"'
KEPT_ALWAYS = (b'"speed/samples_per_second": 0.0',)
"""Marks of training lines that are read whatever the stride: the first of each process."""


@dataclass(frozen=True)
class SplitLog:
    """The lines of one split by ascending step: steps and epochs (L,), values by metric (L,).

    A value is NaN where a line lacks the metric, or states one that is not finite.
    """

    steps: np.ndarray
    epochs: np.ndarray
    values: dict[str, np.ndarray]


@dataclass(frozen=True)
class Log:
    """All splits of a log. `stride`: of so many training lines one was read."""

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

    Of training lines every `stride`-th is read, with the first and the last, the first of
    each process, and all that mention what is not finite; of other splits all. A line that
    is not an object with a step is counted and left out, but for the one that is being written.
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
        # Two writers, or a file put together by hand: the last line of a step counts.
        newest = {line["step"]: line for line in lines}
        lines = [newest[step] for step in sorted(newest)]
        steps = np.array(sorted(newest), np.int64)
    names = dict.fromkeys(name for line in lines for name in line if name not in NOT_METRICS)
    values = {name: as_numbers([line.get(name) for line in lines]) for name in names}
    return SplitLog(steps, as_numbers([line.get("epoch") for line in lines]), values)


def as_numbers(values: list[Any]) -> np.ndarray:
    """Values as float64; NaN for what is missing or no number."""
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError):
        return np.array([_number(value) for value in values], np.float64)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
