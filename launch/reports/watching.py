"""A live status table, with the losses of running runs as bars."""

import math
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from launch.jobs.run_state import RunState
from launch.jobs.standing import AT_WORK
from launch.reports.html.logs import bucket_means, make_buckets
from launch.reports.status_table import (
    ORDER,
    Status,
    duration,
    read_status,
    run_cells,
    run_folder,
    status_table,
)
from orbit.core.files.waiting import trying_again
from orbit.core.printing import say
from orbit.core.user_text import counted

BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.-:=+*#"
"""Bars for ASCII terminals."""
GAP = "·"
"""The character for a gap without a finite number."""
LARGE_RATIO = 10.0
"""Positive numbers whose ratio exceeds this are drawn on a logarithmic scale."""


def bars_of(encoding: str) -> str:
    """The characters for bars that an encoding has."""
    try:
        (BARS + GAP).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII_BARS
    return BARS


def sparkline(values: Sequence[float], width: int, bars: str = BARS) -> str:
    """At most `width` bars between the least and the greatest value, with means of neighbours if
    necessary."""
    gap = GAP if bars == BARS else " "
    array = np.asarray(values, np.float64)
    means = bucket_means(array, make_buckets(len(array), width)).mean
    finite = means[np.isfinite(means)]
    if not len(finite):
        return gap * len(means)
    if finite.min() > 0 and finite.max() > LARGE_RATIO * finite.min():
        means, finite = np.log(means), np.log(finite)
    low, extent = float(finite.min()), float(finite.max() - finite.min())
    return "".join(
        gap if not math.isfinite(mean) else bars[_bar((mean - low) / extent if extent else 0.0)]
        for mean in means.tolist()
    )


def _bar(share: float) -> int:
    return min(len(BARS) - 1, int(share * len(BARS)))


LOSS = re.compile(rb'"split": "train".*?"loss/total": "?(-?(?:[\d.]+(?:[eE][-+]?\d+)?|inf|nan))')
MAX_VALUES = 512


class LossFollower:
    """`values` are training losses in order; when there are too many, every second is dropped."""

    def __init__(self, log: Path) -> None:
        self.values: list[float] = []
        self._log, self._place, self._stride, self._number = log, 0, 1, 0

    def read(self) -> list[float]:
        """Read what was logged since the last call; from the start if the log was cut."""
        try:
            with open(self._log, "rb") as file:
                if file.seek(0, 2) < self._place:
                    self.values, self._place, self._stride, self._number = [], 0, 1, 0
                file.seek(self._place)
                new = file.read()
        except OSError:
            return self.values
        whole, separator, _ = new.rpartition(b"\n")
        self._place += len(whole) + len(separator)
        for line in whole.split(b"\n"):
            found = LOSS.search(line)
            if found is not None:
                self._add(float(found.group(1)))
        return self.values

    def _add(self, value: float) -> None:
        if self._number % self._stride == 0:
            self.values.append(value)
        self._number += 1
        if len(self.values) > MAX_VALUES:
            self.values = self.values[::2]
            self._stride *= 2


DEFAULT_EVERY_S = 5.0
SPARK_WIDTH = 24
LINES_AROUND = 6
"""The number of lines of the table that are not runs."""
MAY_CHANGE = (*AT_WORK, "unknown")
"""States that may change by themselves."""
STYLES = {
    "failed": "bold red",
    "collapsed": "bold red",
    "lost": "bold red",
    "timed_out": "yellow",
    "preempted": "yellow",
    "cancelled": "yellow",
    "stopped": "yellow",
    "planned": "yellow",
    "unknown": "yellow",
    "running": "cyan",
    "starting": "cyan",
    "waiting": "blue",
    "pruned": "dim",
    "finished": "green",
    "evaluated": "green",
}


def watch(path: Path, every_s: float) -> Status:
    """Show the runs until none is running or waiting, or until Ctrl-C; returns the last status.

    The live table leaves no room for the commands that help: at its end the plain table, with them,
    takes its place. If the output is not a terminal, the plain table is printed whenever a state
    has changed.
    """
    if not sys.stdout.isatty():
        try:
            return _watch_plain(path, every_s)
        except KeyboardInterrupt:
            return read_status(path)
    try:
        status = _watch_live(path, every_s)
    except KeyboardInterrupt:
        status = read_status(path)
    say(status_table(status))
    return status


class Watched(Protocol):
    """What shows runs and can say whether any of them goes on."""

    @property
    def is_watching(self) -> bool: ...


Shown = TypeVar("Shown", bound=Watched)


def written_anew(shown: Shown, write: Callable[[], Shown], every_s: float) -> Iterator[Shown]:
    """What `write` returns, once every so many seconds until nothing goes on any more.

    It watches for days: an error of the file system that passes does not end it.
    """
    while shown.is_watching:
        time.sleep(every_s)
        shown = trying_again(write, "the report")
        yield shown


def is_over(status: Status) -> bool:
    """Whether no state will change by itself, and no search begins other runs."""
    if status.search is not None and status.search.is_at_work:
        return False
    return not any(state.state in MAY_CHANGE for state in status.states.values())


def _watch_plain(path: Path, every_s: float) -> Status:
    shown: dict[str, str] | None = None
    while True:
        status = read_status(path)
        states: dict[str, str] = {name: state.state for name, state in status.states.items()}
        if states != shown:
            say(f"{time.strftime('%H:%M:%S')}\n{status_table(status)}")
            shown = states
        if is_over(status):
            return status
        time.sleep(every_s)


def _watch_live(path: Path, every_s: float) -> Status:
    from rich.console import Console
    from rich.live import Live

    folder = run_folder(path)
    followers: dict[str, LossFollower] = {}
    console = Console()
    letters = bars_of(console.encoding)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            status = read_status(path)
            for name, state in status.states.items():
                if state.state == "running" or name in followers:
                    log = folder / name / "metrics.jsonl"
                    followers.setdefault(name, LossFollower(log)).read()
            losses = {name: follower.values for name, follower in followers.items()}
            height = shutil.get_terminal_size().lines
            live.update(make_table(status, losses, height - LINES_AROUND, letters), refresh=True)
            if is_over(status):
                return status
            time.sleep(every_s)


def make_table(
    status: Status, losses: Mapping[str, list[float]], max_rows: int, letters: str = BARS
) -> Any:
    """A rich table of the runs that fit: those that need attention, then running ones, then the
    rest.

    Losses are bars of these characters.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    ranked = sorted(status.states.items(), key=lambda item: ORDER.index(item[1].state))
    shown = ranked[: max(1, max_rows)]
    table = Table(
        caption=caption(status, len(ranked) - len(shown)), caption_justify="left", box=SIMPLE_HEAD
    )
    table.add_column("run", no_wrap=True, overflow="ellipsis", max_width=44)
    table.add_column("state")
    for name in ("restarts", "step", "samples/s", "loss"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("over training", no_wrap=True, min_width=SPARK_WIDTH)
    table.add_column("left", justify="right", no_wrap=True)
    table.add_column("", overflow="ellipsis", no_wrap=True, max_width=50)
    for name, state in shown:
        label, kind, restarts, step, speed, loss, left, detail = run_cells(name, state)
        values = losses.get(name, [])
        bars = sparkline(values, SPARK_WIDTH, letters) if values else ""
        style = STYLES.get(kind, "")
        parts = (label, Text(kind, style=style), restarts, step, speed, loss, bars, left, detail)
        table.add_row(*(Text(part) if isinstance(part, str) else part for part in parts))
    return table


def caption(status: Status, num_hidden: int) -> str:
    """The counts of states, the remaining time of running runs, and what is not shown or not
    known."""
    counts: Counter[str] = Counter(state.state for state in status.states.values())
    parts = [", ".join(f"{counts[state]} {state}" for state in ORDER if counts[state])]
    longest = longest_left(status.states)
    parts += [f"what runs is done in {duration(longest)}"] if longest is not None else []
    parts += [f"search: {status.search.words}"] if status.search is not None else []
    parts += [f"{counted(num_hidden, 'run')} not shown"] if num_hidden > 0 else []
    parts += [f"not checked: {status.unchecked}"] if status.unchecked is not None else []
    return "; ".join([*parts, time.strftime("%H:%M:%S")])


def longest_left(states: Mapping[str, RunState]) -> float | None:
    """Seconds until the last running run ends, None if that is not known."""
    known = [
        state.remaining_s
        for state in states.values()
        if state.state == "running" and state.remaining_s is not None
    ]
    return max(known, default=None)
