"""The program that a SLURM batch script runs after its job step has failed.

Called as `python -m launch.jobs.aftermath RECORD EXIT_CODE` on the job's first node. The ranks
decide themselves if they can; this is for the case that all of them were killed.
"""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from launch.cluster import slurm
from launch.cluster.slurm import Place, slurm_job
from launch.cluster.submission import read_record
from launch.jobs import history
from launch.jobs.deciding import GOES_ON, after_fault, earlier_attempts, read_order, request_restart
from launch.jobs.history import Ending
from launch.jobs.run_state import CANCELLED_FILE
from orbit.core.config.program import EXIT_STOPPED
from orbit.core.files.waiting import pause
from orbit.core.printing import say

MAX_RESTARTS_OF_OTHERS = 5
"""The most restarts of jobs that keep no count of their own (evaluations, preparations,
searches)."""


def main(record_path: str, exit_code: str) -> None:
    """Decide instead of the ranks, and request a requeue if the run may continue."""
    path = Path(record_path)
    record = read_record(path)
    job = slurm_job(os.environ)
    restart = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    if not may_be_running(job):
        return
    if record.kind != "train":
        # 75: the job requested a requeue, and SLURM did not answer.
        wants_more = int(exit_code) == EXIT_STOPPED
        if wants_more or (int(exit_code) > 128 and restart < MAX_RESTARTS_OF_OTHERS):
            request_restart(job, f"the job step ended with {exit_code}")
        return
    task = record.tasks[int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))]
    run_dir = path.parents[1] / "runs" / task
    place = batch_place(os.environ, job, restart)
    reason = decide_for_the_ranks(run_dir, place, exit_code)
    if reason in GOES_ON:
        request_restart(job, reason, run_dir / CANCELLED_FILE)


def may_be_running(job: str) -> bool:
    """False only if SLURM says that the job is not running; a missing answer does not count."""
    try:
        return slurm.job_state(job) == "RUNNING"
    except slurm.SlurmError as error:
        say(f"job {job}: {error}", error=True)
        return True


def batch_place(environment: Mapping[str, str], job: str, restart: int) -> Place:
    """The place of the batch script, which is that of the first rank."""
    host = environment.get("SLURMD_NODENAME", "")
    num_ranks = int(environment.get("SLURM_NTASKS", "1"))
    return Place(0, num_ranks, 0, host, host, job, restart)


def decide_for_the_ranks(run_dir: Path, place: Place, exit_code: str) -> str | None:
    """The reason why the attempt ended: the ranks' own or, if none could record one, a fault of the
    cluster.

    After repeated faults it waits longer, so that SLURM can notice a lost node.
    """
    order = read_order(run_dir)
    folder = run_dir / history.ATTEMPTS / place.attempt
    if not (folder / "begin.json").exists():
        history.begin(run_dir, place, order.submission, time.time(), order.digest or "")
    if history.reason_of(folder) is None:
        if not history.endings(folder):
            message = f"the job step was lost (srun ended with {exit_code})"
            ending = Ending("cluster_fault", message, 0, place.host, int(exit_code))
            history.note_ending(folder, ending)
        # All ranks have ended: the one that claimed the decision was killed before it decided.
        (folder / "decided").unlink(missing_ok=True)
        after_fault(run_dir, order, folder, settle_s=0)
        earlier = [attempt.reason for attempt in earlier_attempts(run_dir, order, folder)]
        seconds = wait_before_restart_s(earlier)
        pause(seconds, "SLURM to notice a node that was lost")
    return history.reason_of(folder)


def wait_before_restart_s(earlier: list[str | None]) -> float:
    """Seconds to wait: 2, 10, 50, ... by the number of faults in a row before this one."""
    num_faults = 0
    for reason in reversed(earlier):
        if reason not in (None, "cluster_fault"):
            break
        num_faults += 1
    return float(min(300, 2 * 5**num_faults))


if __name__ == "__main__":
    main(*sys.argv[1:])
