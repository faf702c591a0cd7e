"""The history of a run: its attempts, and how the process of each rank ended.

attempts/<job>-<restart>/
  begin.json          written by the first rank when it starts
  rendezvous.json     where the ranks meet
  rank_00001.json     how that rank ended, if not well
  rank_00001.log      what it said
  signal.json         that it was told to stop
  end.json            why the attempt ended; missing if everything was killed at once
"""

import json
import re
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from launch.cluster.settings import RetryConfig
from launch.cluster.slurm import JobFacts, Place
from orbit.core.config.program import (
    EXIT_CLUSTER_FAULT,
    EXIT_COLLAPSED,
    EXIT_FINISHED,
    EXIT_NON_FINITE,
    EXIT_STOPPED,
)
from orbit.core.files.atomic import read_json_object, write_json
from orbit.core.files.listing import list_folder
from orbit.core.signals import STOP_SIGNALS

Kind = Literal[
    "finished", "stopped", "cluster_fault", "mistake", "non_finite", "collapsed", "crash"
]

SEVERITY: tuple[Kind, ...] = (
    "finished",
    "stopped",
    "cluster_fault",
    "mistake",
    "collapsed",
    "non_finite",
    "crash",
)
"""Kinds of endings, from harmless to decisive: a bug of one rank looks like a lost connection to
others."""


PREFIX = re.compile(r"^train\.py: (rank \d+: )?")
"""The beginning of a program's last line; an ending records the rank separately."""


@dataclass(frozen=True)
class Ending:
    """The end of one rank; `lines` are the last ones that it said."""

    kind: Kind
    message: str
    rank: int
    host: str
    exit_code: int
    lines: tuple[str, ...] = ()
    time: float = 0.0


def classify(exit_code: int, last_lines: list[str], was_told_to_stop: bool) -> tuple[Kind, str]:
    """Kind and one line for a process that ended with `exit_code` (negative: by a signal).

    A killed process counts as a fault of the cluster, because a lost node and exhausted memory look
    the same; retries are limited.
    """
    said = next((line.strip() for line in reversed(last_lines) if line.strip()), "")
    said = PREFIX.sub("", said)
    if exit_code == EXIT_FINISHED:
        return "finished", ""
    if exit_code == EXIT_STOPPED:
        return "stopped", said
    if exit_code < 0:
        name = _signal_name(-exit_code)
        if was_told_to_stop and -exit_code in (*STOP_SIGNALS, signal.SIGKILL):
            return "stopped", f"ended by {name} before it could save"
        if -exit_code in (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL):
            lost = any("connection closed" in line.lower() for line in last_lines)
            return ("cluster_fault" if lost else "crash"), f"ended by {name}: {said}"
        return "cluster_fault", f"killed by {name}"
    if exit_code - 128 in STOP_SIGNALS:
        # By a signal that came before the trainer had handlers.
        name = _signal_name(exit_code - 128)
        if was_told_to_stop:
            return "stopped", f"ended by {name} before it could save"
        return "cluster_fault", f"ended by {name}"
    if exit_code == EXIT_CLUSTER_FAULT:
        return "cluster_fault", said
    if exit_code == EXIT_NON_FINITE:
        return "non_finite", said
    if exit_code == EXIT_COLLAPSED:
        return "collapsed", said
    is_bug = any(line.startswith("Traceback (most recent call last)") for line in last_lines)
    return ("crash" if is_bug else "mistake"), said or f"exit code {exit_code}"


def decisive(endings: list[Ending]) -> Ending:
    """The ending that explains the others: the most severe, of the lowest rank.

    Of endings of the same kind, one with a message is preferred.
    """
    return min(endings, key=lambda end: (-SEVERITY.index(end.kind), not end.message, end.rank))


def reason_of_stop(elapsed_s: float, limit_s: float | None, signal_before_s: float) -> str:
    """`timeout` or `preempted`, by when the signal came; SLURM may send it a minute early."""
    if limit_s is None:
        return "preempted"
    return "timeout" if elapsed_s >= limit_s - signal_before_s - 65 else "preempted"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


ATTEMPTS = "attempts"
PREEMPTION, SCANCEL, CANCELLED = "preemption", "scancel", "cancelled"


@dataclass(frozen=True)
class Attempt:
    """One start of a run. `reason` is None while it runs, or if it left no record.

    `ended` is when it ended or was told to stop, in seconds since the epoch, where known.
    `is_over` says that its end was noted, `signal` by what it was told to stop, `was_preempted`
    that the scheduler wanted its nodes.
    """

    name: str
    submission: str
    started: float
    first_step: int
    reason: str | None
    ended: float | None = None
    num_ranks: int = 1
    is_over: bool = False
    signal: str | None = None
    message: str = ""
    was_preempted: bool = False


def begin(run_dir: Path, place: Place, submission: str, started: float, code: str) -> Path:
    """Record that an attempt starts (on the first rank) and return its folder."""
    folder = run_dir / ATTEMPTS / place.attempt
    folder.mkdir(parents=True, exist_ok=True)
    if place.rank == 0:
        content = {
            "submission": submission,
            "job": place.job,
            "restart": place.restart,
            "host": place.host,
            "num_ranks": place.world_size,
            "started": started,
            "first_step": newest_step(run_dir),
            "code": code,
        }
        write_json(folder / "begin.json", content)
    return folder


def end(folder: Path, reason: str, time: float, message: str = "") -> None:
    """Record why an attempt ended."""
    write_json(folder / "end.json", {"reason": reason, "time": time, "message": message})


def who_stopped(facts: JobFacts | None, restart: int) -> str | None:
    """Who had a job stopped, by what SLURM says of it while it saves; None if that tells nothing.

    `restart` counts its earlier starts. A job that ends without being put back into the queue
    was cancelled.
    """
    if facts is None or facts.state == "RUNNING":
        return PREEMPTION if facts is not None and facts.was_preempted else None
    if facts.was_preempted:
        return PREEMPTION
    is_ending = facts.state == "COMPLETING" and facts.num_restarts == restart
    return SCANCEL if facts.state == "CANCELLED" or is_ending else None


def note_who_stopped(folder: Path, who: str | None) -> None:
    """Add to what ended an attempt who had it stopped; one that was cancelled says so."""
    for name in ("signal.json", "end.json"):
        noted = read_json_object(folder / name)
        if noted is not None and who is not None and noted.get("reason") == "preempted":
            reason = CANCELLED if who == SCANCEL else "preempted"
            write_json(folder / name, {**noted, "reason": reason, "by": who})


def note_signal(folder: Path, reason: str, time: float, name: str) -> None:
    """Record that the attempt was told to stop, which is its reason if everything is killed now."""
    write_json(folder / "signal.json", {"reason": reason, "time": time, "signal": name})


def log_name(rank: int) -> str:
    """The file of an attempt's folder with what a rank said."""
    return f"rank_{rank:05d}.log"


def note_ending(folder: Path, ending: Ending) -> None:
    """Record how one rank ended."""
    write_json(folder / f"rank_{ending.rank:05d}.json", asdict(ending))


def endings(folder: Path) -> list[Ending]:
    """The endings recorded so far."""
    found = [json.loads(path.read_text()) for path in list_folder(folder, "rank_*.json")]
    return [Ending(**{**each, "lines": tuple(each.get("lines", ()))}) for each in found]


def read_attempts(run_dir: Path) -> list[Attempt]:
    """All attempts, oldest first; unreadable records are left out."""
    found = []
    folder = run_dir / ATTEMPTS
    for path in folder.iterdir() if folder.is_dir() else ():
        begun = read_json_object(path / "begin.json")
        if begun is not None and {"submission", "started", "first_step"} <= begun.keys():
            end, told = (read_json_object(path / f"{name}.json") for name in ("end", "signal"))
            ending = end or told or {}
            reasons = [(each or {}).get("reason") for each in (end, told)]
            found.append(
                Attempt(
                    path.name,
                    begun["submission"],
                    begun["started"],
                    begun["first_step"],
                    CANCELLED if CANCELLED in reasons else ending.get("reason"),
                    ending.get("time"),
                    begun.get("num_ranks", 1),
                    end is not None,
                    (told or {}).get("signal"),
                    str(ending.get("message", "")),
                    PREEMPTION in (ending.get("by"), (told or {}).get("by")),
                )
            )
    return sorted(found, key=lambda attempt: attempt.started)


def first_step_of(folder: Path) -> int:
    """The newest checkpoint when the attempt started."""
    return int((read_json_object(folder / "begin.json") or {}).get("first_step", 0))


def reason_of(folder: Path) -> str | None:
    """The reason in end.json, None without one."""
    return (read_json_object(folder / "end.json") or {}).get("reason")


def newest_step(run_dir: Path) -> int:
    """Step of the newest checkpoint directory, 0 if there is none."""
    names = (path.name for path in list_folder(run_dir / "checkpoints", "step_*"))
    return max((int(name[5:]) for name in names if name[5:].isdecimal()), default=0)


def refusal(
    earlier: list[Attempt], reason: str | None, first_step: int, step: int, retry: RetryConfig
) -> str | None:
    """Why a run may not continue after an attempt that ended for `reason`; None if it may.

    `earlier` are the attempts of this submission before it, `first_step` and `step` the newest
    checkpoint when it started and now. An earlier attempt without a reason was lost with its node.
    """
    ends = [attempt.reason or "vanished" for attempt in earlier] + [reason or "vanished"]
    for kind, limit, words in (
        ("preempted", retry.max_preemptions, "preemptions"),
        ("timeout", retry.max_timeouts, "time-outs"),
    ):
        if reason == kind and ends.count(kind) > limit:
            return f"gave up after {limit} {words} (retry.max_{kind_key(kind)}={limit})"
    if reason in ("preempted", "timeout"):
        return None
    steps = [attempt.first_step for attempt in earlier] + [first_step]
    num_faults = 0
    for kind, begun_at in zip(reversed(ends), reversed(steps), strict=True):
        if kind not in ("cluster_fault", "vanished") or begun_at < step:
            break
        num_faults += 1
    if num_faults > retry.max_faults:
        return (
            f"gave up after {retry.max_faults} faults of the cluster in a row without a new"
            f" checkpoint (retry.max_faults={retry.max_faults})"
        )
    return None


def kind_key(kind: str) -> str:
    """The plural of a reason in the keys of `RetryConfig`."""
    return {"preempted": "preemptions", "timeout": "timeouts"}[kind]
