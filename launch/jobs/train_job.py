"""The job of one run, as submitit calls it on every rank of a SLURM job."""

import os
import sys
from pathlib import Path

from launch.cluster import slurm
from launch.jobs import history
from launch.jobs.attempt import run_attempt
from launch.jobs.deciding import WAIT_FOR_END_S, read_order, request_restart
from launch.jobs.places import Place, slurm_place
from launch.jobs.rank_process import StopNote
from launch.jobs.run_state import CANCELLED_FILE
from orbit.core.files.waiting import pause, wait_until
from orbit.core.printing import say


class TrainJob:
    """Trains or continues one run. Everything else is read from the run directory."""

    def __init__(self, run_dir: str) -> None:
        self.run_dir = run_dir

    def __call__(self) -> str:
        """Returns how the attempt ended; exits with 1 if the run failed."""
        stop = StopNote()
        stop.install()
        run_dir = Path(self.run_dir)
        place = slurm_place(os.environ)
        folder = run_dir / history.ATTEMPTS / place.attempt

        def look(facts: slurm.JobFacts | None) -> None:
            history.note_who_stopped(folder, history.who_stopped(facts, place.restart))

        def who() -> str | None:
            try:
                return history.who_stopped(slurm.job_facts(place.job), place.restart)
            except slurm.SlurmError:
                return None

        decision = run_attempt(run_dir, read_order(run_dir), [place], stop, who)
        if decision is None:
            return self._leave_it_to_the_decider(run_dir, place)
        if decision.failure is not None:
            say(f"the run failed: {decision.failure}", error=True)
            sys.exit(1)
        if decision.goes_on:
            request_restart(place.job, decision.reason, run_dir / CANCELLED_FILE, look)
        return decision.reason

    def _leave_it_to_the_decider(self, run_dir: Path, place: Place) -> str:
        """Wait while another rank requeues or fails this job; exiting first could end it in the
        wrong way."""
        folder = run_dir / history.ATTEMPTS / place.attempt
        if (folder / f"rank_{place.rank:05d}.json").exists():
            ended = wait_until(
                (folder / "end.json").exists,
                "the rank that decides what follows",
                timeout_s=WAIT_FOR_END_S,
            )
            pause(5 if ended else 0, "the rank that decided to end this job")
        return "another rank decides"
