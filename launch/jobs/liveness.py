"""The tasks of recorded jobs that are waiting or running now, and cancelling them."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launch.cluster import slurm
from launch.cluster.submission import JOBS, JobRecord, read_records
from launch.jobs.run_state import CANCELLED_FILE
from launch.jobs.standing import LiveJob
from launch.jobs.train_job import claimed
from orbit.core.files.atomic import write_json
from orbit.core.files.lock import is_running
from orbit.core.user_text import counted

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


BY = "launch/cancel.py"


def cancel_jobs(base: Path) -> list[str]:
    """Cancel every live job recorded below `base`; a line for each kind of job.

    Jobs are found by their names, never by an id alone, which SLURM may have reused. Raises
    FileNotFoundError if nothing was ever submitted there.
    """
    if not (base / JOBS).is_dir():
        raise FileNotFoundError(f"nothing was submitted from {base}: there is no {JOBS}/ in it")
    records = read_records(base)
    liveness = find_live(base, records)
    if liveness.unchecked is not None:
        raise ValueError(f"cannot tell which jobs are alive: {liveness.unchecked}")
    by_name = {record.name: record for record in records}
    for task, job in liveness.jobs.items():
        run_dir = base / "runs" / task
        if by_name[job.record].kind == "train" and run_dir.is_dir():
            write_json(run_dir / CANCELLED_FILE, {"time": time.time(), "job": job.job, "by": BY})
        if by_name[job.record].kind == "search":
            write_json(base / CANCELLED_FILE, {"time": time.time(), "job": job.job})
    in_slurm = {job.job for job in liveness.jobs.values() if by_name[job.record].cluster == "slurm"}
    whole = {
        record.job_id
        for record in records
        if record.job_id and any(job.record == record.name for job in liveness.jobs.values())
    }
    # A live array is cancelled as a whole; this does not affect its finished tasks.
    slurm.cancel(sorted(whole | {job for job in in_slurm if job.split("_")[0] not in whole}))
    num_workers = sum(_stop_workers(record) for record in records if record.cluster == "local")
    tasks, jobs = counted(len(in_slurm), "SLURM task"), counted(len(whole), "job")
    lines = [f"cancelled {tasks} in {jobs}"] if in_slurm else []
    if num_workers:
        lines.append(f"told {counted(num_workers, 'worker')} on this machine to save and stop")
    return lines or ["nothing is waiting or running"]


def _stop_workers(record: JobRecord) -> int:
    """Tell the workers of this machine to stop; returns how many there were."""
    alive = [process for process in record.processes if is_running(process)]
    for process in alive:
        os.kill(int(process["pid"]), signal.SIGTERM)
    return len(alive)
