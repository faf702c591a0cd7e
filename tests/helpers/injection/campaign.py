"""Many points on several lines at once, and a table of what came of them."""

import itertools
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from helpers.injection.driver import Line, WarmProcess
from helpers.injection.judge import KINDS
from helpers.injection.library import FAULTS
from helpers.injection.places import Places
from helpers.injection.points import Point, Recording, Trial, in_order, points_of, record, try_point
from helpers.injection.subjects import Subject

T = TypeVar("T")


class Campaign:
    """Trials of points on a warm process; a context manager around lines to it."""

    def __init__(self, warm: WarmProcess, places: Places, num_lines: int) -> None:
        self.library = warm.library
        self.places = places
        self._lines = [warm.connect() for _ in range(num_lines)]
        self.recordings: dict[str, Recording] = {}

    def __enter__(self) -> "Campaign":
        return self

    def __exit__(self, *error: object) -> None:
        for line in self._lines:
            line.close()

    def record(self, subjects: Iterable[Subject]) -> None:
        """Run the subjects undisturbed, twice each: what ends differently cannot be judged."""
        chosen = list(subjects)
        for each in chosen:
            self.places.template(each, self._lines[0])

        def one(each: Subject, line: Line) -> None:
            self.recordings[each.name] = record(each, self.places, line)

        self._share(chosen, one)

    def points(self) -> list[Point]:
        """Every point of the recorded subjects, in the order in which time is spent on them."""
        return in_order([point for each in self.recordings.values() for point in points_of(each)])

    def try_one(self, point: Point, planted: str | None = None) -> Trial:
        """Try a point of a recorded subject, with a planted bug if one is named."""
        recording = self.recordings[point.subject]
        return try_point(point, recording, self.places, self._lines[0], planted)

    def run(
        self,
        points: Sequence[Point],
        until: float = float("inf"),
        on_trial: Callable[[Trial], None] = lambda trial: None,
        is_cold: bool = False,
    ) -> list[Trial]:
        """Try points until they are done or `until`, a time of `time.monotonic`."""
        trials: list[Trial] = []
        library = self.library if is_cold else None

        def one(point: Point, line: Line) -> None:
            if time.monotonic() < until:
                recording = self.recordings[point.subject]
                trial = try_point(point, recording, self.places, line, library=library)
                trials.append(trial)
                on_trial(trial)

        self._share(points, one)
        return trials

    def _share(self, items: Iterable[T], do: Callable[[T, Line], None]) -> None:
        """Do something with every item, on all lines at once."""
        waiting: queue.SimpleQueue[T] = queue.SimpleQueue()
        for item in items:
            waiting.put(item)
        errors: list[BaseException] = []

        def work(line: Line) -> None:
            try:
                while not errors:
                    do(waiting.get_nowait(), line)
            except queue.Empty:
                return
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(line,)) for line in self._lines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]


def cold_points(points: Sequence[Point], num: int) -> list[Point]:
    """Points of one rank, spread over subjects.

    A sweep's own process would copy other code, and what an export names has an order that
    differs from process to process (but for the children of one).
    """
    by_subject: dict[str, list[Point]] = {}
    for point in points:
        if "ranks" not in point.subject and point.subject not in ("sweep", "export"):
            by_subject.setdefault(point.subject, []).append(point)
    turns = itertools.zip_longest(*by_subject.values())
    return [point for turn in turns for point in turn if point is not None][:num]


def table(trials: Sequence[Trial]) -> str:
    """Numbers of points by subject and fault, and what came of them by subject, in Markdown."""
    subjects = list(dict.fromkeys(trial.point.subject for trial in trials))
    by_fault = Counter((trial.point.subject, trial.point.fault) for trial in trials)
    by_kind = Counter((trial.point.subject, trial.verdict.kind) for trial in trials)
    faults = [fault.name for fault in FAULTS]
    return "\n\n".join(
        [_counts(subjects, faults, by_fault), _counts(subjects, list(KINDS), by_kind)]
    )


def _counts(rows: list[str], columns: list[str], numbers: Counter[tuple[str, str]]) -> str:
    lines = [["", *columns, "all"], ["---", *["---:"] * (len(columns) + 1)]]
    for row in rows:
        counts = [numbers[row, column] for column in columns]
        lines.append([row, *map(str, counts), str(sum(counts))])
    sums = [sum(numbers[row, column] for row in rows) for column in columns]
    lines.append(["all", *map(str, sums), str(sum(sums))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def processor() -> str:
    """The name of this machine's processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"
