"""The jobs that train: of one run, as submitit calls it on every rank of a SLURM job, and workers.

A worker on this machine takes runs, one at a time, from a list that workers share.
"""

import json
import os
import sys
from pathlib import Path

from launch.cluster import slurm
from launch.cluster.slurm import Place, local_places, slurm_place
from launch.cluster.submission import read_record
from launch.jobs import history
from launch.jobs.attempt import StopNote, run_attempt
from launch.jobs.deciding import WAIT_FOR_END_S, read_order, request_restart
from launch.jobs.run_state import CANCELLED_FILE
from orbit.core.files.atomic import create_exclusively, read_json_object
from orbit.core.files.lock import describe_process
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


class LocalWorker:
    """Trains the runs of a job record until none is left or it is told to stop."""

    def __init__(self, record: str, runs: str) -> None:
        self.record, self.runs = record, runs

    def __call__(self) -> int:
        """Returns the number of runs that this worker took."""
        stop = StopNote()
        stop.install()
        record = read_record(Path(self.record))
        num_taken = 0
        for name in record.tasks:
            if stop.signal is not None:
                break
            if claim(claims_folder(Path(self.record)) / name):
                num_taken += 1
                try:
                    self._train(Path(self.runs) / name, record.name, stop)
                except (ValueError, OSError) as error:
                    say(f"{name}: {error}")
        return num_taken

    def _train(self, run_dir: Path, job: str, stop: StopNote) -> None:
        order = read_order(run_dir)
        restart = 0
        while True:
            places = local_places(order.num_ranks, job, restart)
            decision = run_attempt(run_dir, order, places, stop)
            if decision is None or not decision.goes_on or stop.signal is not None:
                return
            restart += 1


def claims_folder(record: Path) -> Path:
    """The folder in which the workers of a record record who has taken a run."""
    return record.with_suffix(".claims")


def claim(path: Path) -> bool:
    """Take a run, as the only worker to do so."""
    path.parent.mkdir(exist_ok=True)
    return create_exclusively(path, json.dumps(describe_process(os.getpid())))


def claimed(record: Path) -> dict[str, dict[str, object]]:
    """The process that took each run taken so far."""
    folder = claims_folder(record)
    if not folder.is_dir():
        return {}
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    return {name: _owner(folder / name) for name in names}


def _owner(claim: Path) -> dict[str, object]:
    """The owner of a claim; nobody while it is being written on a file system without hard
    links."""
    return read_json_object(claim) or {}
