"""Runs and trials one after the other in this process."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from launch.cluster.settings import InlineConfig
from launch.cluster.submission import read_records
from launch.jobs.attempt import is_pruned
from launch.jobs.deciding import ERROR_FILE
from launch.jobs.liveness import LiveJob, find_live
from launch.jobs.run_state import RunState, read_run_state
from launch.snapshot import Snapshot
from launch.sweeps.expansion import PlannedRun
from launch.sweeps.plan import SweepDirectory
from launch.sweeps.submission import prepare_runs
from launch.sweeps.trials import UnknownMetricError
from orbit.core.config.program import (
    EXIT_COLLAPSED,
    EXIT_STOPPED,
    SHOW_TRACEBACK,
    ExitWithCode,
    describe_error,
)
from orbit.core.files.atomic import write_json
from orbit.core.printing import say
from orbit.core.signals import StopRequest


def run_inline(runs: Sequence[PlannedRun]) -> int:
    """Train the runs; a failing one is reported and the others continue. Returns the exit code."""
    from pipeline.training.run import train

    num_failed = 0
    for number, run in enumerate(runs, start=1):
        say(f"run {number} of {len(runs)}: {run.name}")
        try:
            train(run.config)
        except ExitWithCode as error:
            if error.code == EXIT_STOPPED:
                raise
            num_failed += 1
            note_inline_failure(Path(run.config.run_dir), error)
        except (ValueError, OSError) as error:
            if os.environ.get(SHOW_TRACEBACK):
                raise
            num_failed += 1
            note_inline_failure(Path(run.config.run_dir), error)
    return 1 if num_failed else 0


def note_inline_failure(run_dir: Path, error: Exception) -> None:
    """Print why a run that was trained in this process failed, and write it to error.json.

    A run with a result is finished: then the error is only printed.
    """
    from pipeline.training.distributed import is_cluster_fault

    kind = "cluster_fault" if is_cluster_fault(error) else "mistake"
    if isinstance(error, ExitWithCode):
        kind = "collapsed" if error.code == EXIT_COLLAPSED else "non_finite"
    message = describe_error(error)
    say(f"{run_dir.name}: {message}")
    if not (run_dir / "result.json").exists():
        write_json(run_dir / ERROR_FILE, {"kind": kind, "message": message, "time": time.time()})


class InlineJobs:
    """Trains at submission; a stop signal ends the program like a training run."""

    poll_s = 0.5
    max_trials = 1

    def __init__(self, directory: SweepDirectory, cluster: InlineConfig, code: Snapshot) -> None:
        self._directory, self._cluster, self._code = directory, cluster, code
        self._live: dict[str, LiveJob] = {}
        self._request = _StopOrPrune()
        self._request.install()

    def look(self) -> str | None:
        """Check for live jobs of an earlier call on a cluster; ExitWithCode after a stop signal."""
        if self._request.stopped_by is not None:
            raise ExitWithCode("asked to stop", EXIT_STOPPED)
        found = find_live(self._directory.path, read_records(self._directory.path, ("train",)))
        self._live = found.jobs
        return found.unchecked

    def states(self, names: Sequence[str]) -> dict[str, RunState]:
        """States of runs; a run without a job is not running, however recent its heartbeat is."""
        states = {
            name: read_run_state(self._directory.runs / name, self._live.get(name), False)
            for name in names
        }
        return {
            name: replace(state, state="lost")
            if state.state in ("running", "starting") and name not in self._live
            else state
            for name, state in states.items()
        }

    def submit(self, runs: Sequence[PlannedRun], follow: Callable[[], bool]) -> list[str]:
        """Train the runs; one that fails leaves its reason in error.json."""
        prepare_runs(runs, self._directory, self._cluster, self._code, stage=False)
        for run in runs:
            run_dir = self._directory.runs / run.name
            if is_pruned(run_dir):
                continue
            self._request.follow = _OnNews(run_dir / "metrics.jsonl", follow)
            try:
                self._train(run, run_dir)
            finally:
                self._request.follow = None
        return [run.name for run in runs]

    def cancel(self, names: Sequence[str]) -> None:
        """Do nothing: no other process runs."""

    def _train(self, run: PlannedRun, run_dir: Path) -> None:
        from pipeline.training.run import train

        try:
            train(run.config, self._request)
        except UnknownMetricError:
            raise
        except ExitWithCode as error:
            if error.code == EXIT_STOPPED and self._request.stopped_by is not None:
                raise
            if error.code != EXIT_STOPPED:
                note_inline_failure(run_dir, error)
        except (ValueError, OSError) as error:
            if os.environ.get(SHOW_TRACEBACK):
                raise
            note_inline_failure(run_dir, error)


class _StopOrPrune(StopRequest):
    """A stop request that `follow` can make too; checked after every step."""

    def __init__(self) -> None:
        self.stopped_by: str | None = None
        self.follow: Callable[[], bool] | None = None

    @property
    def signal_name(self) -> str | None:  # type: ignore[override]
        """The signal, or `pruning`."""
        if self.stopped_by is None and self.follow is not None and self.follow():
            return "pruning"
        return self.stopped_by

    @signal_name.setter
    def signal_name(self, name: str | None) -> None:
        self.stopped_by = name


class _OnNews:
    """Calls `follow` when a file has grown; once it has returned true, the result stays true."""

    def __init__(self, file: Path, follow: Callable[[], bool]) -> None:
        self._file, self._follow = file, follow
        self._size, self._answer = -1, False

    def __call__(self) -> bool:
        try:
            size = self._file.stat().st_size
        except FileNotFoundError:
            return False
        if size != self._size and not self._answer:
            self._size = size
            self._answer = self._follow()
        return self._answer
