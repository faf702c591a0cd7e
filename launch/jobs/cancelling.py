"""Cancelling the jobs that were submitted from a directory."""

import os
import signal
import time
from pathlib import Path

from launch.cluster import slurm
from launch.cluster.records import JOBS, JobRecord, read_records
from launch.jobs.liveness import find_live
from launch.jobs.run_state import CANCELLED_FILE
from orbit.core.files.atomic import write_json
from orbit.core.files.lock import is_running
from orbit.core.user_text import counted

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
