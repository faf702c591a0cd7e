"""Whether a run goes on after an attempt. Decided once, by whoever claims the decision."""

import time
from dataclasses import dataclass
from pathlib import Path

from launch.jobs import history
from launch.jobs.endings import Ending, decisive
from launch.jobs.order import Order
from pipeline.files.atomic import create_exclusively, write_json
from pipeline.files.waiting import pause

SETTLE_S = 4.0
"""After a fault, how long to wait for the other ranks' accounts of what happened."""

ERROR_FILE = "error.json"
GOES_ON = ("preempted", "timeout", "cluster_fault")


@dataclass(frozen=True)
class Decision:
    """What follows an attempt: whether to go on, and why not if that is a failure."""

    reason: str
    goes_on: bool
    failure: str | None = None


def after_stop(run_dir: Path, order: Order, folder: Path, reason: str, ending: Ending) -> Decision:
    """After a stop that was asked for; on the first rank."""
    why_not = _refusal(run_dir, order, folder, reason)
    if why_not is not None:
        return conclude(run_dir, folder, "gave_up", why_not, ending)
    history.end(folder, reason, time.time(), ending.message)
    return Decision(reason, True)


def after_fault(
    run_dir: Path, order: Order, folder: Path, settle_s: float = SETTLE_S
) -> Decision | None:
    """After anything else, on every rank that noted its ending; None if another one decides."""
    pause(settle_s, "the accounts of the other ranks")
    if not _claim(folder / "decided"):
        return None
    cause = decisive(history.endings(folder))
    if cause.kind != "cluster_fault":
        return conclude(run_dir, folder, cause.kind, cause.message, cause)
    why_not = _refusal(run_dir, order, folder, "cluster_fault")
    if why_not is not None:
        return conclude(run_dir, folder, "gave_up", f"{why_not}; last: {cause.message}", cause)
    history.end(folder, "cluster_fault", time.time(), cause.message)
    return Decision("cluster_fault", True)


def vanished_too_often(run_dir: Path, order: Order, folder: Path) -> str | None:
    """Why not even to begin: the attempts before this one took their nodes with them."""
    earlier = earlier_attempts(run_dir, order, folder)
    if not earlier or earlier[-1].reason is not None:
        return None
    step = history.first_step_of(folder)
    return history.refusal(earlier[:-1], None, earlier[-1].first_step, step, order.retry)


def conclude(
    run_dir: Path, folder: Path, kind: str, message: str, cause: Ending | None
) -> Decision:
    """Write error.json and the attempt's end: the run has failed."""
    content = {
        "kind": kind,
        "message": message,
        "rank": cause.rank if cause else None,
        "host": cause.host if cause else None,
        "exit_code": cause.exit_code if cause else None,
        "attempt": folder.name,
        "time": time.time(),
    }
    write_json(run_dir / ERROR_FILE, content)
    history.end(folder, kind, time.time(), message)
    return Decision(kind, False, message)


def earlier_attempts(run_dir: Path, order: Order, folder: Path) -> list[history.Attempt]:
    """The attempts of this submission before the one in `folder`."""
    return [
        attempt
        for attempt in history.read_attempts(run_dir)
        if attempt.submission == order.submission and attempt.name != folder.name
    ]


def _refusal(run_dir: Path, order: Order, folder: Path, reason: str) -> str | None:
    earlier = earlier_attempts(run_dir, order, folder)
    step = history.newest_step(run_dir)
    return history.refusal(earlier, reason, history.first_step_of(folder), step, order.retry)


def _claim(path: Path) -> bool:
    """Create a file as the only one to do so."""
    return create_exclusively(path, "")
