"""Asking SLURM for another start of the job one is in."""

import sys
from pathlib import Path

from launch.cluster import slurm
from pipeline.config.program import EXIT_STOPPED
from pipeline.files.waiting import pause
from pipeline.printing import say

WAIT_FOR_END_S = 90.0


def request_restart(job: str, why: str, cancelled: Path | None = None) -> None:
    """Ask for one more start of `job`, unless SLURM is about to give one or it was cancelled.

    `cancelled` is a file whose presence says that the user has given the job up. Returns only
    if SLURM says that the job is not running any more, or if it was cancelled. Where SLURM
    does not answer, it is asked again for minutes; then the process ends with 75, so that
    the batch script goes on asking.
    """
    has_asked = False
    for _ in slurm.pauses():
        if cancelled is not None and cancelled.exists():
            say(f"{why}: no requeue asked for, the job was cancelled")
            return
        try:
            state = slurm.job_state(job)
            if state == "RUNNING":
                say(f"{why}: asking for another start")
                has_asked = True
                slurm.requeue(job)
            elif not has_asked:
                shown = "unknown to SLURM" if state is None else state
                say(f"{why}: no requeue asked for, the job is {shown}")
                return
            # SLURM ends this job now; ending by ourselves could look like success.
            pause(WAIT_FOR_END_S, "SLURM to end this job, which it starts again")
            sys.exit(1)
        except slurm.SlurmError as error:
            say(f"{why}: {error}; asking again", error=True)
    sys.exit(EXIT_STOPPED)
