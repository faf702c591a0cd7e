"""The decision when a run's attempt ends: continue, requeue or fail. Pure except for one
request."""

import dataclasses
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launch.cluster import slurm
from launch.cluster.settings import RetryConfig
from launch.jobs import history
from launch.jobs.history import Ending, decisive
from orbit.core.config.program import EXIT_STOPPED
from orbit.core.config.schema import read_json_as
from orbit.core.files.atomic import create_exclusively, write_json
from orbit.core.files.waiting import pause
from orbit.core.printing import say

WAIT_FOR_END_S = 90.0


def request_restart(
    job: str,
    why: str,
    cancelled: Path | None = None,
    look: Callable[[slurm.JobFacts | None], None] | None = None,
) -> None:
    """Request one requeue of `job`, unless SLURM requeues it anyway or it was cancelled.

    `cancelled` is a file that exists if the user has cancelled the job; `look` is called with
    SLURM's first answer. Returns only if SLURM says that the job is no longer running, or if it
    was cancelled. If SLURM does not answer, it is asked again for minutes; then the process ends
    with 75, so that the batch script continues to ask.
    """
    has_asked = False
    for _ in slurm.pauses():
        if cancelled is not None and cancelled.exists():
            say(f"{why}: no requeue requested, the job was cancelled")
            return
        try:
            facts = slurm.job_facts(job)
            state = None if facts is None else facts.state
            if look is not None:
                look(facts)
                look = None
            if state == "RUNNING":
                say(f"{why}: requesting a requeue")
                has_asked = True
                slurm.requeue(job)
            elif not has_asked:
                shown = "unknown to SLURM" if state is None else state
                say(f"{why}: no requeue requested, the job is {shown}")
                return
            # SLURM ends this job now; exiting here could look like success.
            pause(WAIT_FOR_END_S, "SLURM to end this job, which it starts again")
            sys.exit(1)
        except slurm.SlurmError as error:
            say(f"{why}: {error}; asking again", error=True)
    sys.exit(EXIT_STOPPED)


ORDER_FILE = "launch.json"


@dataclass(frozen=True)
class Order:
    """How a run is to be executed. `time_limit_s` is None if a job has no limit.

    `code` is the snapshot's path, `digest` its checksum; `stage` is the node's disk to which the
    dataset is copied, None to read it directly; `packages` are the digests of the code that
    takes part in training.
    """

    submission: str
    code: str
    digest: str | None
    num_ranks: int
    time_limit_s: float | None
    signal_before_s: float
    join_timeout_s: float
    stage: str | None
    data: str
    retry: RetryConfig = RetryConfig()
    packages: dict[str, str] = dataclasses.field(default_factory=dict)


def write_order(run_dir: Path, order: Order) -> None:
    """Write launch.json."""
    write_json(run_dir / ORDER_FILE, dataclasses.asdict(order))


def read_order(run_dir: Path) -> Order:
    """Read launch.json; FileNotFoundError or ValueError if that cannot be done."""
    return read_json_as(Order, run_dir / ORDER_FILE)


SETTLE_S = 4.0
"""After a fault, how long to wait for the records of other ranks."""

ERROR_FILE = "error.json"
GOES_ON = ("preempted", "timeout", "cluster_fault")


@dataclass(frozen=True)
class Decision:
    """The decision after an attempt: whether to continue, and the failure if not."""

    reason: str
    goes_on: bool
    failure: str | None = None


def after_stop(run_dir: Path, order: Order, folder: Path, reason: str, ending: Ending) -> Decision:
    """The decision after a requested stop; on the first rank."""
    why_not = _refusal(run_dir, order, folder, reason)
    if why_not is not None:
        return conclude(run_dir, folder, "gave_up", why_not, ending, reason)
    history.end(folder, reason, time.time(), ending.message)
    return Decision(reason, True)


def after_fault(
    run_dir: Path, order: Order, folder: Path, settle_s: float = SETTLE_S
) -> Decision | None:
    """The decision after any other ending, on every rank that recorded one; None if another rank
    decides."""
    pause(settle_s, "the records of the other ranks")
    if not _claim(folder / "decided"):
        return None
    cause = decisive(history.endings(folder))
    if cause.kind != "cluster_fault":
        return conclude(run_dir, folder, cause.kind, cause.message, cause)
    why_not = _refusal(run_dir, order, folder, "cluster_fault")
    if why_not is not None:
        message = f"{why_not}; last: {cause.message}"
        return conclude(run_dir, folder, "gave_up", message, cause, "cluster_fault")
    history.end(folder, "cluster_fault", time.time(), cause.message)
    return Decision("cluster_fault", True)


def vanished_too_often(run_dir: Path, order: Order, folder: Path) -> str | None:
    """The reason not to start at all: earlier attempts lost their nodes too often."""
    earlier = earlier_attempts(run_dir, order, folder)
    if not earlier or earlier[-1].reason is not None:
        return None
    step = history.first_step_of(folder)
    return history.refusal(earlier[:-1], None, earlier[-1].first_step, step, order.retry)


def conclude(
    run_dir: Path,
    folder: Path,
    kind: str,
    message: str,
    cause: Ending | None,
    after: str | None = None,
) -> Decision:
    """Record that the run has failed: write error.json and the attempt's end.

    `after` is what it was given up after.
    """
    content = {
        "kind": kind,
        "message": message,
        "rank": cause.rank if cause else None,
        "host": cause.host if cause else None,
        "exit_code": cause.exit_code if cause else None,
        "lines": list(cause.lines) if cause else [],
        "after": after,
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
