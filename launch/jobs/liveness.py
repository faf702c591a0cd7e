"""The tasks of recorded jobs that are waiting or running now."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.cluster import slurm
from launch.cluster.records import JOBS, JobRecord
from launch.jobs.local_worker import claimed
from orbit.core.files.lock import is_running

SUBMISSION_GRACE_S = 30.0
"""A record without a job id that is younger than this belongs to a submission in progress."""


@dataclass(frozen=True)
class LiveJob:
    """A waiting or running task: `state` is waiting or running, `job` is the id with which to
    cancel it."""

    state: str
    reason: str
    job: str
    record: str


@dataclass(frozen=True)
class Liveness:
    """Live tasks by name; `unchecked` says what could not be checked, None if everything was."""

    jobs: dict[str, LiveJob]
    unchecked: str | None = None


def find_live(base: Path, records: Sequence[JobRecord]) -> Liveness:
    """The live tasks of these records, by one query to SLURM and the processes of this host."""
    jobs: dict[str, LiveJob] = {}
    for record in records:
        if record.cluster == "local":
            jobs.update(_live_here(base, record))
    unchecked = None
    if any(record.cluster == "slurm" for record in records):
        try:
            jobs.update(_live_in_slurm(records, slurm.live_tasks()))
        except slurm.SlurmError as error:
            unchecked = str(error)
    return Liveness(jobs, unchecked)


def _live_in_slurm(
    records: Sequence[JobRecord], tasks: Sequence[slurm.LiveTask]
) -> dict[str, LiveJob]:
    by_name = {record.name: record for record in records if record.cluster == "slurm"}
    jobs = {}
    for task in tasks:
        record = by_name.get(task.name)
        if record is None:
            continue
        state = "waiting" if task.state in ("PENDING", "REQUEUED", "REQUEUE_HOLD") else "running"
        reason = task.reason if state == "waiting" else task.state.lower()
        job = task.job_id if task.index is None else f"{task.job_id}_{task.index}"
        jobs[record.tasks[task.index or 0]] = LiveJob(state, reason, job, record.name)
    return jobs


def _live_here(base: Path, record: JobRecord) -> dict[str, LiveJob]:
    if not record.processes and time.time() - record.submitted > SUBMISSION_GRACE_S:
        return {}
    if record.processes and not record.is_alive_here():
        return {}
    taken = claimed(base / JOBS / f"{record.name}.json")
    jobs = {}
    for task in record.tasks:
        if task not in taken:
            jobs[task] = LiveJob("waiting", "for a worker", record.name, record.name)
        elif is_running(taken[task]):
            jobs[task] = LiveJob("running", "here", record.name, record.name)
    return jobs
