"""The tasks of recorded jobs that are waiting or running now."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launch.cluster import slurm
from launch.cluster.records import JOBS, JobRecord
from launch.jobs.local_worker import claimed
from launch.jobs.standing import LiveJob
from orbit.core.files.lock import is_running

SUBMISSION_GRACE_S = 30.0
"""A record without a job id that is younger than this belongs to a submission in progress."""


@dataclass(frozen=True)
class Liveness:
    """Live tasks by name; `unchecked` says what could not be asked, None if all was.

    `ended` has the scheduler's word for tasks whose jobs are over, while it remembers them.
    """

    jobs: dict[str, LiveJob]
    unchecked: str | None = None
    ended: dict[str, str] = field(default_factory=dict)


def find_live(base: Path, records: Sequence[JobRecord]) -> Liveness:
    """The live tasks of these records, by one query to SLURM and the processes of this host."""
    jobs: dict[str, LiveJob] = {}
    for record in records:
        if record.cluster == "local":
            jobs.update(_live_here(base, record))
    unchecked, ended = None, {}
    if any(record.cluster == "slurm" for record in records):
        try:
            tasks = slurm.known_tasks()
            jobs.update(_live_in_slurm(records, tasks))
            ended = _ended_in_slurm(records, tasks)
        except slurm.SlurmError as error:
            unchecked = str(error)
    return Liveness(jobs, unchecked, ended)


def _live_in_slurm(
    records: Sequence[JobRecord], tasks: Sequence[slurm.LiveTask]
) -> dict[str, LiveJob]:
    by_name = {record.name: record for record in records if record.cluster == "slurm"}
    jobs = {}
    for task in tasks:
        record = by_name.get(task.name)
        if record is None or task.state not in slurm.LIVE_STATES:
            continue
        state = "waiting" if task.state in ("PENDING", "REQUEUED", "REQUEUE_HOLD") else "running"
        reason = task.reason if state == "waiting" else task.state.lower()
        job = task.job_id if task.index is None else f"{task.job_id}_{task.index}"
        jobs[record.tasks[task.index or 0]] = LiveJob(state, reason, job, record.name)
    return jobs


def _ended_in_slurm(
    records: Sequence[JobRecord], tasks: Sequence[slurm.LiveTask]
) -> dict[str, str]:
    """States of jobs that are over, by task; of its newest record, if there are several."""
    by_name: dict[str, list[slurm.LiveTask]] = {task.name: [] for task in tasks}
    for task in tasks:
        by_name[task.name].append(task)
    found: dict[str, str] = {}
    for record in records:
        if record.cluster == "slurm":
            for name in record.tasks:
                found.pop(name, None)
            for task in by_name.get(record.name, []):
                if task.state not in slurm.LIVE_STATES:
                    found[record.tasks[task.index or 0]] = task.state
    return found


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
