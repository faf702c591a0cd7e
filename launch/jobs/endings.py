"""How a rank's process ended, and what that means for the run. Pure functions."""

import re
import signal
from dataclasses import dataclass
from typing import Literal

from pipeline.config.program import (
    EXIT_CLUSTER_FAULT,
    EXIT_COLLAPSED,
    EXIT_FINISHED,
    EXIT_NON_FINITE,
    EXIT_STOPPED,
)
from pipeline.signals import STOP_SIGNALS

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
"""From harmless to what explains the others: a peer's bug also looks like a lost connection."""


PREFIX = re.compile(r"^train\.py: (rank \d+: )?")
"""What a program puts before its last line; an ending says the rank by itself."""


@dataclass(frozen=True)
class Ending:
    """The end of one rank."""

    kind: Kind
    message: str
    rank: int
    host: str
    exit_code: int


def classify(exit_code: int, last_lines: list[str], was_told_to_stop: bool) -> tuple[Kind, str]:
    """Kind and one line for a process that ended with `exit_code` (negative: by a signal).

    A killed process counts as a fault of the cluster, because nothing in it can tell
    a lost node from an exhausted memory; retries are bounded.
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
        # By a signal that came before the trainer knew what to do with it.
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

    An ending without a message gives way to one of its kind that has one.
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
