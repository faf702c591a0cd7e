"""The points of the campaign: which fault befalls which call of which program, and one trial."""

import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.injection.canonical import canonical
from helpers.injection.driver import Line, Outcome, run_cold
from helpers.injection.judge import Undisturbed, Verdict, complete, judge
from helpers.injection.library import FAULTS, Call, Fault, faults_of, read_calls
from helpers.injection.places import Places
from helpers.injection.subjects import Subject

FAULTS_OF_SLOW = ("EIO", "ESTALE for 8 s", "ENOSPC", "short", "kill", "node lost")
EVENTS = "events.out.tfevents"
"""Records of the event files are many, one like the other."""


@dataclass(frozen=True)
class Point:
    """A subject, one of its calls, and what happens to that."""

    subject: str
    call: Call
    fault: str

    def __str__(self) -> str:
        call = self.call
        rank = f" of rank {call.rank}" if call.rank else ""
        return f"{self.subject}: {self.fault} at {call.op} {call.path} ({call.occurrence}){rank}"


@dataclass(frozen=True)
class Trial:
    """What came of a point. `was_met` is False where the program never made the call."""

    point: Point
    verdict: Verdict
    was_met: bool
    codes: tuple[int, ...]
    seconds: float


@dataclass(frozen=True)
class Recording:
    """A subject undisturbed: its calls with the bytes each moved, and its end."""

    subject: Subject
    calls: tuple[tuple[Call, int], ...]
    undisturbed: Undisturbed


def record(chosen: Subject, places: Places, line: Line) -> Recording:
    """Run a subject in two folders, in the first one twice; calls are those made in both.

    RuntimeError if it fails, or if the second folder comes out different.
    """
    template = places.template(chosen, line)
    folders = [places.copy(template) for _ in range(2)]
    outcomes, ends = [], []
    for work in (*folders, folders[0]):
        scratch = work.with_name(f"{work.name}.scratch")
        outcomes.append(line.run(chosen.step, work, scratch))
        outcomes[-1].calls = _calls(outcomes[-1])
        ends.append(canonical(work))
    said = [text for each in outcomes for text in (*each.outputs, *each.errors)]
    if any(code for each in outcomes for code in each.codes):
        raise RuntimeError(f"{chosen.name} fails undisturbed: {said}")
    for work in folders:
        shutil.rmtree(work)
        shutil.rmtree(work.with_name(f"{work.name}.scratch"))
    end, other, again = ends
    if end != other:
        paths = [path for path in {*end, *other} if end.get(path) != other.get(path)]
        raise RuntimeError(f"{chosen.name} does not end the same twice: {sorted(paths)}")
    sizes = [dict(each.calls) for each in outcomes]
    calls = tuple((call, size) for call, size in sizes[0].items() if call in sizes[1])
    usual = frozenset(line for text in said for line in text.splitlines())
    return Recording(chosen, calls, Undisturbed(end, again, usual))


def _calls(outcome: Outcome) -> list[tuple[Call, int]]:
    return [
        (call, result)
        for rank, log in enumerate(outcome.logs)
        for call, result, _ in read_calls(log, rank)
    ]


def points_of(recording: Recording) -> list[Point]:
    """All points of a subject; of the many records of an event file the first and the last."""
    chosen = recording.subject
    latest = {(call.rank, call.op, call.path): call.occurrence for call, _ in recording.calls}
    points = []
    for call, size in recording.calls:
        if not call.path.startswith(chosen.watched):
            continue
        is_last = call.occurrence == latest[call.rank, call.op, call.path]
        if EVENTS in call.path and call.occurrence > 1 and not is_last:
            continue
        for fault in faults_of(call, size):
            if not chosen.is_slow or fault.name in FAULTS_OF_SLOW:
                points.append(Point(chosen.name, call, fault.name))
    return points


def in_order(points: Sequence[Point], seed: int = 0) -> list[Point]:
    """One fault for every call before a second for any, so that little time goes far."""
    rng = random.Random(seed)
    by_call: dict[tuple[str, Call], list[Point]] = {}
    for point in points:
        by_call.setdefault((point.subject, point.call), []).append(point)
    rounds: dict[int, list[Point]] = {}
    for group in by_call.values():
        rng.shuffle(group)
        for number, point in enumerate(group):
            rounds.setdefault(number, []).append(point)
    ordered = []
    for number in sorted(rounds):
        rng.shuffle(rounds[number])
        ordered += rounds[number]
    return ordered


def try_point(
    point: Point,
    recording: Recording,
    places: Places,
    line: Line,
    planted: str | None = None,
    library: Path | None = None,
) -> Trial:
    """Let a fault befall a call, repeat the command undisturbed, judge.

    With `library` the disturbed program is a process of its own.
    """
    step = recording.subject.step
    work = places.copy(places.template(recording.subject, line))
    scratch = work.with_name(f"{work.name}.scratch")
    is_renewed = "overwrite=true" in step.words
    before = complete(work, is_renewed)
    fault = fault_named(point.fault)
    if library is None:
        first = line.run(step, work, scratch, point.call, fault, planted)
    else:
        first = run_cold(library, step, work, scratch, point.call, fault)
    was_met = _was_met(first, point.call)
    between, content = complete(work, is_renewed), canonical(work)
    again = line.run(step, work, scratch, planted=planted)
    after = complete(work, is_renewed)
    verdict = judge(before, work, first, between, content, again, after, recording.undisturbed)
    shutil.rmtree(work)
    shutil.rmtree(scratch)
    seconds = first.seconds + again.seconds
    return Trial(point, verdict, was_met, tuple(first.codes), seconds)


def fault_named(name: str) -> Fault:
    """A fault by its name."""
    return next(fault for fault in FAULTS if fault.name == name)


def _was_met(outcome: Outcome, call: Call) -> bool:
    made = read_calls(outcome.logs[call.rank], call.rank)
    return any(each == call and done for each, _, done in made)
