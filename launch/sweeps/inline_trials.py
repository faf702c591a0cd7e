"""The runs of trials trained in this process, one after another."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from launch.cluster.settings import InlineConfig
from launch.jobs.liveness import LiveJob, find_live
from launch.jobs.pruning import is_pruned
from launch.jobs.records import read_records
from launch.reports.run_state import RunState, read_run_state
from launch.snapshot import Snapshot
from launch.sweeps.directory import SweepDirectory
from launch.sweeps.inline import note_inline_failure
from launch.sweeps.resolving import PlannedRun
from launch.sweeps.submission import prepare_runs
from launch.sweeps.trial_results import UnknownMetricError
from pipeline.config.program import (
    EXIT_STOPPED,
    SHOW_TRACEBACK,
    ExitWithCode,
)
from pipeline.training.stopping import StopRequest


class InlineJobs:
    """Trains at submission; a stop signal ends the program as it ends a training run."""

    poll_s = 0.5
    max_trials = 1

    def __init__(self, directory: SweepDirectory, cluster: InlineConfig, code: Snapshot) -> None:
        self._directory, self._cluster, self._code = directory, cluster, code
        self._live: dict[str, LiveJob] = {}
        self._request = _StopOrPrune()
        self._request.install()

    def look(self) -> str | None:
        """Jobs of an earlier call on a cluster may be alive; ExitWithCode after a stop signal."""
        if self._request.stopped_by is not None:
            raise ExitWithCode("asked to stop", EXIT_STOPPED)
        found = find_live(self._directory.path, read_records(self._directory.path, ("train",)))
        self._live = found.jobs
        return found.unchecked

    def states(self, names: Sequence[str]) -> dict[str, RunState]:
        """A run without a job is at work nowhere, however fresh its heartbeat is."""
        states = {
            name: read_run_state(self._directory.runs / name, self._live.get(name), False)
            for name in names
        }
        return {
            name: replace(state, state="lost")
            if state.state == "running" and name not in self._live
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
        """Nothing runs beside this process."""

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
    """A stop request that `follow` can make as well; asked after every step."""

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
    """Calls `follow` when a file has grown; once that said yes, it stays so."""

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
