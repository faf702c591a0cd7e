"""A search by Optuna: its order, its loop over trials, its summary.

Its whole state is in the study and the run directories, so after a kill another controller
continues where it stopped.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from launch.cluster.checks import check_ranks
from launch.cluster.settings import ClusterConfig, InlineConfig, LocalConfig, RetryConfig
from launch.cluster.slurm import SlurmError
from launch.jobs.attempt import mark_pruned
from launch.jobs.deciding import ERROR_FILE
from launch.jobs.history import newest_step
from launch.jobs.run_state import CANCELLED_FILE, RunState
from launch.jobs.standing import DONE, INTERRUPTED
from launch.snapshot import Snapshot
from launch.sweeps.expansion import PlannedRun, Point, Resolver, with_seeds
from launch.sweeps.plan import SweepDirectory
from launch.sweeps.settings import OptunaSearch, SweepConfig
from launch.sweeps.study import JOURNAL, OpenTrial, SearchStudy, mend_journal
from launch.sweeps.trials import (
    ClusterJobs,
    TrialJobs,
    UnknownMetricError,
    final_value,
    is_usable,
    judge,
    validation_values,
)
from orbit.core.config.schema import read_json_as
from orbit.core.files.atomic import read_json_object, write_json
from orbit.core.files.lock import DirectoryLock

ORDER_FILE = "search_order.json"


@dataclass(frozen=True)
class SearchOrder:
    """A search with the overrides of the training configuration and the code that it runs."""

    words: tuple[str, ...]
    sweep: SweepConfig
    cluster: ClusterConfig
    stage: bool
    code: str
    digest: str

    @property
    def search(self) -> OptunaSearch:
        """The settings of the search."""
        assert isinstance(self.sweep.search, OptunaSearch)
        return self.sweep.search

    @property
    def snapshot(self) -> Snapshot:
        """The code that jobs run."""
        return Snapshot(Path(self.code), self.digest)


def write_search_order(folder: Path, order: SearchOrder) -> None:
    """Write search_order.json."""
    write_json(folder / ORDER_FILE, dataclasses.asdict(order))


def read_search_order(folder: Path) -> SearchOrder:
    """Read search_order.json; FileNotFoundError or ValueError if that cannot be done."""
    return read_json_as(SearchOrder, folder / ORDER_FILE)


NON_FINITE = "non_finite"
"""The kind of a failure that comes again however often a run is started, as a collapse does."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 15.0, 600.0
"""Pauses after a cluster has refused a job; doubled each time."""


class Controller:
    """One step after another; see `step`."""

    def __init__(
        self,
        order: SearchOrder,
        directory: SweepDirectory,
        study: SearchStudy,
        jobs: TrialJobs,
        say: Callable[[str], None],
    ) -> None:
        self._order, self._search, self._directory = order, order.search, directory
        self._study, self._jobs, self._say = study, jobs, say
        cluster = order.cluster
        self._retry = RetryConfig() if isinstance(cluster, InlineConfig) else cluster.retry
        self._resolver = Resolver(order.words, directory.runs)
        self._planned = directory.read_plan() if directory.exists() else {}
        self._runs: dict[int, list[PlannedRun]] = {}
        self._complaint: str | None = None
        self._pause_s, self._paused_until = FIRST_PAUSE_S, 0.0

    def step(self) -> bool:
        """Update every trial and start new ones; returns whether the search is over."""
        complaint = self._jobs.look()
        if complaint is not None:
            self._complain(f"cannot tell which runs are waiting or running: {complaint}")
            return False
        for trial in self._study.open_trials():
            self._attend(trial)
        while self._may_ask():
            self._attend(self._study.ask())
        return self._study.is_over()

    def _may_ask(self) -> bool:
        counts = self._study.counts()
        return (
            counts["running"] < self._jobs.max_trials
            and sum(counts.values()) < self._search.num_trials
            and time.monotonic() >= self._paused_until
        )

    def _attend(self, trial: OpenTrial) -> None:
        """Do what a trial needs now."""
        try:
            runs = self._runs_of(trial)
        except ValueError as error:
            self._fail(trial, str(error), {})
            return
        names = [run.name for run in runs]
        if "runs" not in trial.notes:
            self._say(f"trial {trial.number}: {show_point(trial.point)}")
        self._study.note(trial.number, "runs", names)
        self._add_to_plan(runs)
        states = self._jobs.states(names)
        verdict = judge(states, self._directory.runs)
        if verdict.kind == "complete":
            self._complete(trial, names)
        elif verdict.kind == "failed":
            if not self._retry_failed(trial, runs, states, verdict.reason):
                self._fail(trial, verdict.reason, states)
        elif verdict.kind == "pruned" or self._follow(trial, names):
            self._prune(trial, states)
        else:
            idle = [run for run in runs if run.name in verdict.idle]
            self._submit(trial, idle, states)

    def _retry_failed(
        self, trial: OpenTrial, runs: Sequence[PlannedRun], states: dict[str, RunState], reason: str
    ) -> bool:
        """Start again what failed, where that may help and was not done too often; else False.

        Only what was accepted counts: a cluster may have no room, or refuse.
        """
        failed = [run for run in runs if states[run.name].has_failed]
        errors = [read_json_object(self._directory.runs / run.name / ERROR_FILE) for run in failed]
        times = int(trial.notes.get("retries", 0))
        # Any other state than failed: collapsed, or given up after too many time-outs.
        is_in_vain = any(states[run.name].state != "failed" for run in failed) or any(
            (error or {}).get("kind") == NON_FINITE for error in errors
        )
        if is_in_vain or times >= self._search.num_retries:
            return False
        if time.monotonic() >= self._paused_until:
            self._complain(f"trial {trial.number}: once more after a failure: {reason}")
            if self._submit(trial, failed, states):
                self._study.note(trial.number, "retries", times + 1)
        return True

    def _runs_of(self, trial: OpenTrial) -> list[PlannedRun]:
        """The runs of a trial, one for each seed; ValueError if its values are refused."""
        if trial.number not in self._runs:
            points = with_seeds([trial.point], self._order.sweep.seeds)
            runs = self._resolver.resolve(points)
            for run in runs:
                num_ranks = self._order.cluster.num_ranks
                check_ranks(run.config.global_batch, run.config.accumulation, num_ranks, run.name)
            self._runs[trial.number] = runs
        return self._runs[trial.number]

    def _add_to_plan(self, runs: Sequence[PlannedRun]) -> None:
        """Name the runs in plan.json, where status and collect find them."""
        if any(run.name not in self._planned for run in runs):
            self._planned |= {run.name: dict(run.values) for run in runs}
            self._directory.write_plan(self._planned)

    def _submit(
        self, trial: OpenTrial, idle: Sequence[PlannedRun], states: dict[str, RunState]
    ) -> list[str]:
        """Submit idle runs; a run that is lost too often fails the trial.

        Returns the names of those that were accepted.
        """
        if not idle or time.monotonic() < self._paused_until:
            return []
        losses = {
            run.name: self._count_losses(trial, run.name)
            for run in idle
            if states[run.name].state in INTERRUPTED and states[run.name].state != "cancelled"
        }
        for name, (times, _) in losses.items():
            if times > self._retry.max_faults:
                limit = f"retry.max_faults={self._retry.max_faults}"
                self._fail(trial, f"{name}: {states[name].detail}, {times} times ({limit})", states)
                return []
        try:
            taken = self._jobs.submit(idle, lambda: self._follow_and_mark(trial, list(states)))
        except UnknownMetricError:
            raise
        except SlurmError as error:
            self._complain(f"no job for trial {trial.number} yet: {error}")
            self._paused_until = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            return []
        except ValueError as error:
            self._fail(trial, str(error), states)
            return []
        if taken:
            self._complaint, self._pause_s = None, FIRST_PAUSE_S
        again = {name: losses[name] for name in taken if name in losses}
        if again:
            self._say(f"trial {trial.number}: continues after an interruption: {', '.join(again)}")
            self._study.note(trial.number, "lost", {**trial.notes.get("lost", {}), **again})
        return taken

    def _count_losses(self, trial: OpenTrial, name: str) -> list[int]:
        """How often a run was lost in a row without a newer checkpoint, and the newest one."""
        before = trial.notes.get("lost", {}).get(name, [0, -1])
        step = newest_step(self._directory.runs / name)
        return [before[0] + 1 if step <= before[1] else 1, step]

    # Results

    def _follow(self, trial: OpenTrial, names: Sequence[str]) -> bool:
        """Report new validation metrics; returns whether the trial must be pruned."""
        values = validation_values(self._folders(names), self._search.metric)
        return self._study.report(trial.number, values)

    def _follow_and_mark(self, trial: OpenTrial, names: Sequence[str]) -> bool:
        """The same while this process trains; the mark stops the training."""
        is_over = self._follow(trial, names)
        if is_over:
            self._mark(names, self._reason_to_prune(trial))
        return is_over

    def _complete(self, trial: OpenTrial, names: Sequence[str]) -> None:
        folders = self._folders(names)
        value = final_value(folders, self._search.metric)
        if not is_usable(value):
            self._fail(trial, f"{self._search.metric} is {value}", {})
            return
        by_step = validation_values(folders, self._search.metric)
        self._study.report(trial.number, by_step, is_over=True)
        self._study.complete(trial.number, value)
        self._say(f"trial {trial.number}: {self._search.metric} {value:.6g}")

    def _prune(self, trial: OpenTrial, states: dict[str, RunState]) -> None:
        """Prune a trial. Runs are marked first, so that after a kill the next controller sees the
        decision."""
        self._end_runs(states, self._reason_to_prune(trial))
        self._study.prune(trial.number)
        self._say(f"trial {trial.number}: pruned")

    def _fail(self, trial: OpenTrial, reason: str, states: dict[str, RunState]) -> None:
        """Fail a trial; its remaining runs are stopped, because it will have no value."""
        self._end_runs(states, f"trial {trial.number} failed")
        self._study.fail(trial.number, reason)
        self._say(f"trial {trial.number}: failed: {reason}")

    def _end_runs(self, states: dict[str, RunState], reason: str) -> None:
        names = [
            name
            for name, state in states.items()
            if state.state not in DONE and not state.has_failed
        ]
        self._mark(names, reason)
        self._jobs.cancel(names)

    def _mark(self, names: Sequence[str], reason: str) -> None:
        for folder in self._folders(names):
            if not (folder / "result.json").exists():
                mark_pruned(folder, reason)

    def _reason_to_prune(self, trial: OpenTrial) -> str:
        return f"trial {trial.number} fell behind in {self._search.metric}"

    def _folders(self, names: Sequence[str]) -> list[Path]:
        return [self._directory.runs / name for name in names]

    def _complain(self, line: str) -> None:
        """Print a message once, until it no longer applies."""
        if line != self._complaint:
            self._say(line)
        self._complaint = line


def show_point(point: Point) -> str:
    """Values as they are written on the command line."""
    return " ".join(f"{key}={value}" for key, value in point.items())


SUMMARY_FILE = "search.json"


def summarise(search: OptunaSearch, study: SearchStudy) -> dict[str, Any]:
    """The best trial and the number of trials by state, as search.json holds them."""
    best = study.best()
    counts = {state: number for state, number in study.counts().items() if state != "running"}
    return {
        "metric": search.metric,
        "direction": search.direction,
        "trials": counts,
        "best": best
        and {
            "trial": best.number,
            "value": best.value,
            "params": best.point,
            "runs": best.notes.get("runs", []),
        },
    }


def write_summary(folder: Path, search: OptunaSearch, study: SearchStudy) -> dict[str, Any]:
    """Write search.json, which marks the search as over, and return its content."""
    summary = summarise(search, study)
    write_json(folder / SUMMARY_FILE, summary)
    return summary


def show_summary(summary: dict[str, Any]) -> list[str]:
    """search.json in a few lines."""
    shown = ", ".join(f"{number} {state}" for state, number in summary["trials"].items())
    lines = [f"{sum(summary['trials'].values())} trials: {shown}"]
    best = summary["best"]
    if best is None:
        return [*lines, "no trial has a value"]
    where = ", ".join(f"runs/{name}" for name in best["runs"])
    result = f"{summary['metric']} {best['value']:.6g} with {show_point(best['params'])}"
    return [*lines, f"best: trial {best['trial']}, {result}", where]


Outcome = Literal["finished", "stopped", "cancelled"]
LOCK_FILE = ".search.lock"


def run_search(folder: Path, stop: Callable[[], bool], say: Callable[[str], None]) -> Outcome:
    """Continue the search of a sweep directory until it is over or `stop` requests a stop.

    Submitted jobs continue without this process. Raises ValueError if another controller is running
    or has taken the search over, or if validation does not measure the metric.
    """
    order, directory = read_search_order(folder), SweepDirectory(folder)
    with DirectoryLock(folder, "search controllers", file=LOCK_FILE) as lock:
        mend_journal(folder / JOURNAL)
        study = SearchStudy(folder, order.search)
        jobs = make_jobs(order, directory)
        controller = Controller(order, directory, study, jobs, say)
        while not _step(controller, lock):
            deadline = time.monotonic() + jobs.poll_s
            while time.monotonic() < deadline and not stop():
                time.sleep(0.1)
            if (folder / CANCELLED_FILE).exists():
                return "cancelled"
            if stop():
                return "stopped"
        lock.check_owned()
        write_summary(folder, order.search, study)
    return "finished"


def _step(controller: Controller, lock: DirectoryLock) -> bool:
    """One step of the controller; LostLockError if another one has taken over."""
    lock.check_owned()
    return controller.step()


def make_jobs(order: SearchOrder, directory: SweepDirectory) -> TrialJobs:
    """The object that trains runs on the cluster of the order."""
    cluster = order.cluster
    if isinstance(cluster, InlineConfig):
        from launch.sweeps.inline_trials import InlineJobs

        return InlineJobs(directory, cluster, order.snapshot)
    max_trials = num_parallel(order.search.num_parallel, len(order.sweep.seeds), cluster)
    return ClusterJobs(
        directory, cluster, order.snapshot, order.stage, order.search.poll_s, max_trials
    )


def num_parallel(wanted: int, num_seeds: int, cluster: ClusterConfig) -> int:
    """Trials at a time: the requested number, but no more than keep this machine busy."""
    if isinstance(cluster, InlineConfig):
        return 1
    if isinstance(cluster, LocalConfig):
        return min(wanted, -(-cluster.max_running // num_seeds))
    return wanted
