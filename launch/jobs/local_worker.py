"""A worker on this machine: takes runs, one at a time, from a list that workers share."""

import json
import os
from pathlib import Path

from launch.cluster.records import read_record
from launch.jobs.attempt import run_attempt
from launch.jobs.deciding import read_order
from launch.jobs.places import local_places
from launch.jobs.rank_process import StopNote
from orbit.core.files.atomic import create_exclusively, read_json_object
from orbit.core.files.lock import describe_process
from orbit.core.printing import say


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
