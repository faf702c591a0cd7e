"""All states of a run, decided from evidence by one pure function, `decide`.

`docs/explanation/status.md` lists them in a table, with the evidence for each.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from launch.jobs.history import Attempt

State = Literal[
    "planned",
    "waiting",
    "starting",
    "running",
    "stopped",
    "preempted",
    "timed_out",
    "failed",
    "collapsed",
    "cancelled",
    "lost",
    "pruned",
    "finished",
    "evaluated",
    "unknown",
]
DONE: tuple[State, ...] = ("finished", "evaluated")
AT_WORK: tuple[State, ...] = ("waiting", "starting", "running")
"""States in which a run continues by itself."""
INTERRUPTED: tuple[State, ...] = ("stopped", "preempted", "timed_out", "cancelled", "lost")
"""States in which a run continues if it is submitted again, unless the launcher gave it up."""


@dataclass(frozen=True)
class LiveJob:
    """A waiting or running task: `state` is waiting or running, `job` the id with which it can be
    cancelled."""

    state: str
    reason: str
    job: str
    record: str


@dataclass(frozen=True)
class Evidence:
    """The evidence about a run: files of its directory, and the scheduler's answer about its job.

    `ended_early` says that a finished run's `patience` was at an end before its planned steps.
    `error` is error.json (written by the launcher), `ending` is ended.json (written by the
    trainer), `ended_as` is the scheduler's state of an ended job, as long as it remembers the job.
    `is_beating` says that the heartbeat is recent and its process is not known to have ended,
    `is_seen` that this process is known to run, which only its own machine can tell.
    """

    is_finished: bool = False
    ended_early: bool = False
    evaluated_on: tuple[str, ...] = ()
    live: LiveJob | None = None
    ended_as: str | None = None
    error: Mapping[str, Any] | None = None
    ending: Mapping[str, Any] | None = None
    pruned: Mapping[str, Any] | None = None
    cancelled: Mapping[str, Any] | None = None
    attempts: tuple[Attempt, ...] = ()
    heartbeat_time: float | None = None
    is_beating: bool = False
    is_seen: bool = False
    was_submitted: bool = False


@dataclass(frozen=True)
class Standing:
    """A state and its reason; `lines` are the last lines of an error. `gave_up`: no retries are
    left."""

    state: State
    detail: str = ""
    lines: tuple[str, ...] = ()
    gave_up: bool = False


STAYS = "does not return by itself"
RETURNS = "returns by itself"
BY_SIGNAL: Mapping[str, str] = {
    "SIGINT": "Ctrl-C",
    "SIGTERM": "SIGTERM (a kill, or the machine going down)",
    "SIGHUP": "a closed terminal",
}
REASONS: Mapping[str, str] = {
    "Priority": "others come first",
    "Resources": "the nodes are busy",
    "BeginTime": "a moment's pause after a restart",
    "Dependency": "another job has to end first",
    "JobArrayTaskLimit": "as many as allowed run already",
    "JobHeldUser": "held by its user",
    "JobHeldAdmin": "held by an administrator",
    "PartitionTimeLimit": "it asks for more time than the partition gives",
    "ReqNodeNotAvail": "a node that it needs is not available",
}
"""The scheduler's reasons in plain words."""
AGAIN: Mapping[str, str] = {
    "preempted": "preempted",
    "timeout": "timed out",
    "cluster_fault": "interrupted by a fault of the cluster",
}
BY_SCHEDULER: Mapping[str, tuple[State, str]] = {
    "CANCELLED": ("cancelled", "by scancel"),
    "PREEMPTED": ("preempted", "the scheduler took its nodes and did not queue it again"),
    "TIMEOUT": ("timed_out", "its time limit is over"),
    "DEADLINE": ("timed_out", "its deadline is over"),
    "NODE_FAIL": ("lost", "its node failed"),
    "BOOT_FAIL": ("lost", "its node failed"),
    "OUT_OF_MEMORY": ("lost", "it used more memory than its job may"),
}


def decide(known: Evidence) -> Standing:
    """The state of a run: first from its results, then from its job, then from the other files."""
    last = known.attempts[-1] if known.attempts else None
    if known.is_finished:
        early = "; ended early, by patience" if known.ended_early else ""
        if known.evaluated_on:
            return Standing("evaluated", f"on {', '.join(known.evaluated_on)}{early}")
        return Standing("finished", f"not evaluated{early}")
    # The result is written at the very end: a job that is still alive is ending, or works on
    # another run.
    has_failed = known.error is not None and (known.live is None or known.live.state == "running")
    if known.live is not None and not has_failed:
        return _alive(known, known.live, last)
    if known.pruned is not None:
        return Standing("pruned", str(known.pruned.get("reason", "")))
    if known.is_beating and known.is_seen and _is_since(known, last):
        return BEATS
    if known.error is not None:
        return _failed(known.error)
    if known.cancelled is not None:
        return _stays("cancelled", f"by {known.cancelled.get('by', 'launch/cancel.py')}")
    if known.ended_as is not None and known.ended_as in BY_SCHEDULER:
        state, why = BY_SCHEDULER[known.ended_as]
        return _stays(state, why)
    is_over = last is not None and last.reason is not None
    is_newest = last is None or float((known.ending or {}).get("time", 0)) >= last.started
    if known.ending is not None and not is_over and is_newest:
        return _ended(known.ending)
    if known.is_beating and not is_over:
        return BEATS
    if last is not None and last.reason is not None:
        return _after(last)
    if last is not None or known.heartbeat_time is not None:
        why = "ended without a word: killed, out of memory, or its machine went down"
        return _stays("lost", why)
    if not known.was_submitted:
        return PLANNED
    if known.ended_as == "FAILED":
        return _stays("lost", "its job failed before training began; its output is in logs/")
    return _stays("lost", "its job is gone and never began: cancelled while it waited, perhaps")


PLANNED = Standing("planned")
BEATS = Standing("running", "seen by its heartbeat")


def _is_since(known: Evidence, last: Attempt | None) -> bool:
    """Whether the heartbeat is newer than every record of an end: somebody continued it by hand."""
    said = (known.error, known.cancelled, known.ending)
    ends = [each.get("time") for each in said if each is not None]
    ends += [last.ended] if last is not None and last.reason is not None else []
    beat = known.heartbeat_time
    return beat is not None and all(isinstance(end, int | float) and beat > end for end in ends)


def _stays(state: State, why: str) -> Standing:
    return Standing(state, f"{why}; {STAYS}")


def _alive(known: Evidence, live: LiveJob, last: Attempt | None) -> Standing:
    """The state of a run whose job waits or runs."""
    if live.state == "waiting":
        words = REASONS.get(live.reason.split(",")[0])
        why = f"{live.reason}: {words}" if words else live.reason
        again = AGAIN.get(last.reason or "") if last is not None else None
        return Standing("waiting", f"{again}, {RETURNS}; {why}" if again else why)
    if known.cancelled is not None:
        return Standing("running", "cancelled: ends now")
    if live.reason == "completing":
        reason = (last.reason if last is not None else None) or "its job"
        return Standing("running", f"{AGAIN.get(reason, reason)}: ends now")
    if last is not None and last.reason is not None and not last.is_over:
        return Standing("running", f"told to stop by {last.signal}: saves now")
    beat = known.heartbeat_time
    if last is None or last.reason is None:
        is_of_this_start = beat is not None and (last is None or beat >= last.started)
    else:
        is_of_this_start = known.is_beating
    said = "" if live.reason in ("running", "here") else live.reason
    if is_of_this_start:
        return Standing("running", said)
    again = AGAIN.get(last.reason or "") if last is not None else None
    return Standing("starting", f"again, was {again}" if again and not said else said)


def _failed(error: Mapping[str, Any]) -> Standing:
    """The state of a run that failed or was given up, as recorded by the launcher."""
    kind, message = error.get("kind"), error.get("message")
    where = "" if error.get("rank") is None else f" (rank {error['rank']} on {error.get('host')})"
    lines = tuple(str(line) for line in error.get("lines") or ())
    if kind == "gave_up":
        state = {"timeout": "timed_out", "preempted": "preempted"}.get(str(error.get("after")))
        if state == "timed_out":
            return Standing("timed_out", str(message), (), True)
        if state == "preempted":
            return Standing("preempted", str(message), (), True)
        return Standing("failed", f"{message}{where}", lines, True)
    state_now: State = "collapsed" if kind == "collapsed" else "failed"
    return Standing(state_now, f"{kind}: {message}{where}", lines)


def _ended(ending: Mapping[str, Any]) -> Standing:
    """The state of a run without a launcher, whose trainer recorded its end."""
    if ending.get("kind") == "stopped":
        signal = str(ending.get("signal") or "")
        saved = f", saved step {ending['step']}" if ending.get("step") is not None else ""
        return _stays("stopped", f"by {BY_SIGNAL.get(signal, signal or 'a request')}{saved}")
    if ending.get("kind") == "cluster_fault":
        return _stays("lost", str(ending.get("message")))
    return _failed(ending)


def _after(last: Attempt) -> Standing:
    """The state of a run whose last attempt recorded why it ended, and whose job no longer
    exists."""
    saved = f"by {BY_SIGNAL.get(last.signal or '', last.signal or 'a signal')}"
    if last.reason == "cancelled":
        return _stays("cancelled", "by scancel")
    if last.reason == "timeout":
        return _stays("timed_out", "its time limit was over, and its job is gone")
    if last.reason == "preempted" and last.was_preempted:
        return _stays("preempted", "its nodes were taken, and its job is gone")
    if last.reason == "preempted":
        return _stays("stopped", f"{saved}, and its job is gone")
    said = f": {last.message}" if last.message else ""
    return _stays("lost", f"{AGAIN.get(last.reason or '', last.reason)}{said}; its job is gone")
