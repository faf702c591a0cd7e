"""Asking SLURM for another start of the job one is in."""

import sys
import time
from pathlib import Path

from launch.cluster import slurm
from pipeline.printing import say

WAIT_FOR_END_S = 90.0


def request_restart(job: str, why: str, cancelled: Path | None = None) -> None:
    """Ask for one more start of `job`, unless SLURM is about to give one or it was cancelled.

    `cancelled` is a file whose presence says that the user has given the job up. Does
    not return if a restart was asked for: SLURM ends this process.
    """
    state = slurm.job_fields(job).get("JobState", "unknown")
    if state != "RUNNING" or (cancelled is not None and cancelled.exists()):
        say(f"{why}: no requeue asked for, the job is {state}")
        return
    say(f"{why}: asking for another start")
    for attempt in range(5):
        try:
            slurm.requeue(job)
            break
        except slurm.SlurmError as error:
            say(f"requeue {attempt + 1}: {error}", error=True)
            time.sleep(2 * (attempt + 1))
    else:
        sys.exit(1)
    # SLURM ends this job now; ending by ourselves could look like success.
    time.sleep(WAIT_FOR_END_S)
    sys.exit(1)
