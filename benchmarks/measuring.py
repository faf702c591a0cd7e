"""Fair comparison on a noisy machine: contenders take turns, and ratios are paired by round.

A preparation is timed from the start of the program to its end.

Reports are markdown for people and JSON for programs.
"""

import dataclasses
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from orbit.core.store.manifest import Manifest, read_manifest

Lap = Callable[[], float]
"""Runs for a moment and returns its rate, in pairs a second."""


@dataclass(frozen=True)
class Row:
    """One line of a table: median and best of the rounds, in `unit`."""

    name: str
    median: float
    best: float
    unit: str = "pairs/s"


@dataclass(frozen=True)
class Check:
    """A requirement, and what was measured; `is_upper_limit` if less is better."""

    name: str
    required: float
    measured: float
    is_upper_limit: bool = False

    @property
    def is_met(self) -> bool:
        if self.is_upper_limit:
            return self.measured <= self.required
        return self.measured >= self.required


@dataclass
class PartReport:
    """What one part measured; `notes` are sentences below its table.

    `table` is markdown of the part's own in place of its rows, `details` are plain values for
    programs, `is_broken` says that what was found must be mended.
    """

    title: str
    rows: list[Row] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    table: str = ""
    details: list[dict[str, Any]] = field(default_factory=list)
    is_broken: bool = False


def take_turns(
    laps: dict[str, Lap], num_rounds: int, warm_up: bool = True
) -> dict[str, list[float]]:
    """Rates of each contender, one a round; a first round warms up and is not counted."""
    rates: dict[str, list[float]] = {name: [] for name in laps}
    for index in range(0 if warm_up else 1, num_rounds + 1):
        for name, lap in laps.items():
            say(f"round {index} of {num_rounds}: {name}")
            rate = lap()
            if index > 0:
                rates[name].append(rate)
    return rates


def say(text: str) -> None:
    """Show what is being done, on a terminal only: results alone go to standard output."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def repeated(step: Callable[[], int], seconds: float) -> Lap:
    """A lap of steps, each returning the number of pairs it read, until the time is over."""

    def lap() -> float:
        started, num_pairs, elapsed = time.perf_counter(), 0, 0.0
        while elapsed < seconds:
            num_pairs += step()
            elapsed = time.perf_counter() - started
        return num_pairs / elapsed

    return lap


def counted(step: Callable[[], int], num_steps: int) -> Lap:
    """A lap of so many steps, each returning the number of pairs it read."""

    def lap() -> float:
        started = time.perf_counter()
        num_pairs = sum(step() for _ in range(num_steps))
        return num_pairs / (time.perf_counter() - started)

    return lap


def endless(loader: Iterable[Any]) -> Iterator[Any]:
    """Epoch after epoch of a loader."""
    while True:
        yield from loader


def ratio(rates: dict[str, list[float]], name: str, base: str) -> float:
    """Median over rounds of one contender's rate relative to another's in the same round."""
    return statistics.median(a / b for a, b in zip(rates[name], rates[base], strict=True))


def fastest(rates: dict[str, list[float]], names: Sequence[str]) -> str:
    """The contender with the highest median."""
    return max(names, key=lambda name: statistics.median(rates[name]))


def rate_rows(rates: dict[str, list[float]], label: str = "") -> list[Row]:
    """A row for each contender."""
    return [
        Row(f"{label}{name}", statistics.median(values), max(values))
        for name, values in rates.items()
    ]


def time_row(name: str, values: Sequence[float], unit: str) -> Row:
    """A row of durations or sizes, where the best is the smallest."""
    return Row(name, statistics.median(values), min(values), unit)


PROGRAM = Path(__file__).resolve().parents[1] / "data_prep" / "prepare.py"
NUM_WORKERS = 2


class Preparation(NamedTuple):
    """Seconds from start to end, what was made, and the peak memory of any one process in MiB."""

    seconds: float
    manifest: Manifest
    peak_mib: float

    @property
    def num_frames(self) -> int:
        return sum(split.num_frames for split in self.manifest.splits.values())

    @property
    def num_records(self) -> int:
        return sum(split.num_records for split in self.manifest.splits.values())


def prepare(out: Path, words: list[str]) -> Preparation:
    """Prepare a dataset anew; ValueError with the program's last line if it fails."""
    shutil.rmtree(out, ignore_errors=True)
    say(" ".join(words[:2]))
    started = time.perf_counter()
    command = [sys.executable, str(PROGRAM), *words, f"out={out}", f"num_workers={NUM_WORKERS}"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        complaint = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ValueError(complaint.strip().splitlines()[-1])
    elapsed = time.perf_counter() - started
    return Preparation(elapsed, read_manifest(out), usage.ru_maxrss / 1024)


PRIVATE = ("command", "host")


def describe_machine() -> dict[str, Any]:
    """Processor, cores and versions."""
    import torch

    from pipeline.training.environment import describe_environment

    environment = describe_environment(torch.device("cpu"), 1, torch.get_num_threads())
    return {key: value for key, value in environment.items() if key not in PRIVATE}


def machine_line(machine: dict[str, Any]) -> str:
    """The machine in a sentence."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"Machine: {machine['processor']}, {machine['num_cores']} cores,"
        f" Python {machine['python']}, {packages}."
    )


def as_markdown(report: PartReport) -> str:
    """A part's tables and notes; `met` and `missed` mark requirements."""
    lines = [f"### {report.title}", ""]
    if report.table:
        lines.append(report.table)
    elif report.rows:
        lines += ["| measured | median | best | unit |", "|---|---:|---:|---|"]
        lines += [
            f"| {row.name} | {_number(row.median)} | {_number(row.best)} | {row.unit} |"
            for row in report.rows
        ]
    if report.checks:
        lines += ["", "| required | limit | measured | |", "|---|---:|---:|---|"]
    for check in report.checks:
        sign, mark = "<=" if check.is_upper_limit else ">=", "met" if check.is_met else "missed"
        limit = f"{sign} {_number(check.required)}"
        lines.append(f"| {check.name} | {limit} | {_number(check.measured)} | {mark} |")
    lines += [""] * bool(report.notes) + [f"- {note}" for note in report.notes]
    return "\n".join(lines)


def as_plain(machine: dict[str, Any], reports: list[PartReport]) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "machine": machine,
        "parts": [
            {
                **dataclasses.asdict(report),
                "checks": [
                    {**dataclasses.asdict(check), "is_met": check.is_met} for check in report.checks
                ],
            }
            for report in reports
        ],
    }


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
