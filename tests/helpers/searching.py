"""Searches for tests: a cluster that trains by writing files, and views of the study."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna

from launch.cluster.settings import LocalConfig
from launch.jobs.liveness import LiveJob
from launch.jobs.run_state import RunState, read_run_state
from launch.sweeps.expansion import PlannedRun
from launch.sweeps.plan import SweepDirectory
from launch.sweeps.search import Controller, SearchOrder
from launch.sweeps.settings import Dimension, OptunaSearch, SweepConfig
from launch.sweeps.study import JOURNAL, SearchStudy, mend_journal
from orbit.core.files.atomic import write_json

SPACE = {
    "task.tau": Dimension(0.3, 0.7),
    "optimizer.learning_rate": Dimension(1e-4, 1e-2, log=True),
    "task.model.width": Dimension(choices=(4, 8)),
}
TINY = ("experiment=rotated_digits", "task.model.width=4", "epochs=1", "compile=false")
LOSS = "loss/total"


class Killed(BaseException):
    """The controller is gone, as after `kill -9`."""


class FakeCluster:
    """Trains when told to (`finish`, ...). It outlives controllers, as a real one does."""

    poll_s = 0.0

    def __init__(self, sweep_dir: Path, max_trials: int = 2) -> None:
        self.runs, self.max_trials = sweep_dir / "runs", max_trials
        self.submitted: list[str] = []
        self.cancelled: list[str] = []
        self.live: set[str] = set()
        self.before_submission: Callable[[], None] = lambda: None
        self.complaint: str | None = None

    def look(self) -> str | None:
        return self.complaint

    def states(self, names: Sequence[str]) -> dict[str, RunState]:
        job = LiveJob("running", "", "1", "record")
        return {
            name: read_run_state(
                self.runs / name, job if name in self.live else None, name in self.submitted
            )
            for name in names
        }

    def submit(self, runs: Sequence[PlannedRun], follow: Callable[[], bool]) -> list[str]:
        self.before_submission()
        names = [run.name for run in runs]
        for name in names:
            assert name not in self.live, f"{name} is trained twice at a time"
            (self.runs / name).mkdir(parents=True, exist_ok=True)
            (self.runs / name / "error.json").unlink(missing_ok=True)
        self.submitted += names
        self.live |= set(names)
        return names

    def cancel(self, names: Sequence[str]) -> None:
        self.cancelled += [name for name in names if name in self.live]
        self.live -= set(names)

    def log(self, name: str, *values: Any) -> None:
        """Validation lines of these values at steps 10, 20, ..."""
        lines = [
            {"step": 10 * number, "split": "val", LOSS: value}
            for number, value in enumerate(values, start=1)
        ]
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        (self.runs / name / "metrics.jsonl").write_text('{"step": 5, "split": "train"}\n' + text)

    def finish(self, name: str, value: Any) -> None:
        """Train to the end."""
        self.log(name, value)
        result = {"state": "finished", "metrics": {LOSS: value}}
        write_json(self.runs / name / "result.json", result)
        self.live.discard(name)

    def fail(self, name: str, kind: str = "non_finite") -> None:
        """Fail, by default for good."""
        write_json(self.runs / name / "error.json", {"kind": kind, "message": "NaN"})
        self.live.discard(name)

    def train_all(self, value: Any = None) -> None:
        """Finish everything that was submitted, with `value` or with values of their own."""
        for name in sorted(self.live):
            self.finish(name, value_of(name) if value is None else value)


def value_of(name: str) -> float:
    """A result that is a function of the run, as a real one is."""
    return float(name.partition("_")[0].removeprefix("tau"))


def make_order(data: Path, seeds: tuple[int, ...] = (0,), **changes: Any) -> SearchOrder:
    """A search of 4 trials."""
    search = OptunaSearch("optuna", SPACE, num_trials=4, num_startup_trials=2, pruner="none")
    sweep = SweepConfig(replace(search, **changes), seeds)
    cluster = LocalConfig("local", max_running=2)
    return SearchOrder((*TINY, f"data={data}"), sweep, cluster, False, "code", "digest")


def make_controller(sweep_dir: Path, order: SearchOrder, cluster: FakeCluster) -> Controller:
    """A controller as a new process makes it: all that it knows comes from files."""
    sweep_dir.mkdir(exist_ok=True)
    mend_journal(sweep_dir / JOURNAL)
    study = SearchStudy(sweep_dir, order.search)
    return Controller(order, SweepDirectory(sweep_dir), study, cluster, lambda line: None)


def open_study(sweep_dir: Path, is_new: bool = False) -> optuna.Study:
    """The study as anyone opens it."""
    path = str(sweep_dir / JOURNAL)
    lock = optuna.storages.journal.JournalFileOpenLock(path)
    backend = optuna.storages.journal.JournalFileBackend(path, lock)
    storage = optuna.storages.JournalStorage(backend)
    if is_new:
        return optuna.create_study(study_name=sweep_dir.name, storage=storage)
    return optuna.load_study(study_name=sweep_dir.name, storage=storage)


def trials(sweep_dir: Path) -> list[optuna.trial.FrozenTrial]:
    """The trials as they stand in the journal."""
    return open_study(sweep_dir).get_trials()


def states(sweep_dir: Path) -> list[str]:
    """Names of the trials' states."""
    return [trial.state.name for trial in trials(sweep_dir)]


def run_out(controller: Controller, cluster: FakeCluster, value: Any = None) -> None:
    """Let the search go on to its end; runs end with `value`, or each with its own."""
    for _ in range(50):
        if controller.step():
            return
        cluster.train_all(value)
    raise AssertionError("the search does not end")
