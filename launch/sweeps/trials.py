"""Jobs for the runs of trials, and the results of trials."""

import dataclasses
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from launch.cluster import slurm
from launch.cluster.settings import LocalConfig, SlurmConfig
from launch.cluster.submission import JobRecord, read_records, submit_workers
from launch.jobs.attempt import is_pruned
from launch.jobs.liveness import SUBMISSION_GRACE_S, LiveJob, find_live
from launch.jobs.run_state import RunState, read_run_state
from launch.jobs.standing import DONE, INTERRUPTED
from launch.jobs.train_job import LocalWorker
from launch.snapshot import Snapshot
from launch.sweeps.expansion import PlannedRun
from launch.sweeps.plan import SweepDirectory
from launch.sweeps.submission import prepare_runs, submit_runs
from orbit.core.config.schema import suggestion
from orbit.core.files.atomic import read_json_object
from orbit.core.printing import say

GPU_OF_RECORD = re.compile(r"orbit-gpu(\d+)-")


class TrialJobs(Protocol):
    """The interface of objects that train the runs of trials."""

    poll_s: float
    max_trials: int
    """The most trials at a time."""

    def look(self) -> str | None:
        """Find out which jobs wait and run; returns what could not be checked, None if everything
        was."""

    def states(self, names: Sequence[str]) -> dict[str, RunState]:
        """The current states of runs, with jobs as of the last look or submission."""

    def submit(self, runs: Sequence[PlannedRun], follow: Callable[[], bool]) -> list[str]:
        """Train or submit these runs; returns the names of those accepted.

        SlurmError if the cluster accepts none at the moment. If runs are trained in this process,
        `follow` is called meanwhile and returns whether the trial was pruned.
        """

    def cancel(self, names: Sequence[str]) -> None:
        """Cancel the jobs of runs that were marked as pruned, and no others."""


class ClusterJobs:
    """Jobs that continue without this process and are found again by their records."""

    def __init__(
        self,
        directory: SweepDirectory,
        cluster: SlurmConfig | LocalConfig,
        code: Snapshot,
        stage: bool,
        poll_s: float,
        max_trials: int,
    ) -> None:
        self.poll_s, self.max_trials = poll_s, max_trials
        self._directory, self._cluster = directory, cluster
        self._code, self._stage = code, stage
        self._live: dict[str, LiveJob] = {}
        self._submitted: set[str] = set()
        self._clusters: dict[str, str] = {}

    def look(self) -> str | None:
        """Look at the records and query SLURM once."""
        records = read_records(self._directory.path, ("train",))
        found = find_live(self._directory.path, records)
        if found.unchecked is not None:
            return found.unchecked
        self._live = {**under_way(records, time.time()), **found.jobs}
        self._submitted = {
            task for record in records if record.job_id or record.processes for task in record.tasks
        }
        self._clusters = {record.name: record.cluster for record in records}
        return None

    def states(self, names: Sequence[str]) -> dict[str, RunState]:
        """See `TrialJobs`."""
        return {
            name: read_run_state(
                self._directory.runs / name, self._live.get(name), name in self._submitted
            )
            for name in names
        }

    def submit(self, runs: Sequence[PlannedRun], follow: Callable[[], bool]) -> list[str]:
        """See `TrialJobs`. On this machine it accepts only as many as `max_running` allows."""
        if isinstance(self._cluster, LocalConfig):
            return [self._start(run, gpu) for run, gpu in zip(runs, self._room(), strict=False)]
        prepare_runs(runs, self._directory, self._cluster, self._code, self._stage)
        names = [run.name for run in runs]
        self._note(submit_runs(names, self._directory, self._cluster, self._code.path))
        return names

    def cancel(self, names: Sequence[str]) -> None:
        """Cancel tasks of SLURM; workers on this machine see the mark themselves."""
        live = [self._live[name] for name in names if name in self._live]
        try:
            slurm.cancel(
                job.job for job in live if job.job and self._clusters.get(job.record) == "slurm"
            )
        except slurm.SlurmError as error:
            # It has ended or cannot be reached; then the job itself sees the mark.
            say(f"cancelling pruned runs: {error}")

    # This machine

    def _room(self) -> Sequence[int | None]:
        """A GPU (None without GPUs) for each further run that may start now."""
        assert isinstance(self._cluster, LocalConfig)
        here = [job for job in self._live.values() if self._clusters.get(job.record) == "local"]
        num_free = max(0, self._cluster.max_running - len(here))
        if not self._cluster.gpus:
            return [None] * num_free
        matches = [GPU_OF_RECORD.match(job.record) for job in here]
        taken = {int(match.group(1)) for match in matches if match}
        return [gpu for gpu in self._cluster.gpus if gpu not in taken][:num_free]

    def _start(self, run: PlannedRun, gpu: int | None) -> str:
        """Start a worker for one run; the record's name contains its GPU."""
        assert isinstance(self._cluster, LocalConfig)
        prepare_runs([run], self._directory, self._cluster, self._code, self._stage)
        runs, label = str(self._directory.runs), self._directory.path.name
        record = submit_workers(
            dataclasses.replace(self._cluster, max_running=1, gpus=() if gpu is None else (gpu,)),
            self._directory.path,
            self._code.path,
            label if gpu is None else f"gpu{gpu}-{label}",
            "train",
            [run.name],
            lambda record, number: LocalWorker(str(record), runs),
        )
        self._note([record])
        return run.name

    # Records

    def _note(self, records: Sequence[JobRecord]) -> None:
        """Treat these as alive until the next look."""
        for record in records:
            self._clusters[record.name] = record.cluster
            for index, task in enumerate(record.tasks):
                job = record.job_id or record.name
                if record.job_id and len(record.tasks) > 1:
                    job += f"_{index}"
                self._submitted.add(task)
                self._live[task] = LiveJob("waiting", "", job, record.name)


def under_way(records: Sequence[JobRecord], now: float) -> dict[str, LiveJob]:
    """Runs of recent submissions that SLURM may not list yet, by a process that was killed
    since."""
    return {
        task: LiveJob("waiting", "being submitted", "", record.name)
        for record in records
        if record.cluster == "slurm"
        and record.job_id is None
        and now - record.submitted < SUBMISSION_GRACE_S
        for task in record.tasks
    }


Kind = Literal["complete", "pruned", "failed", "open"]


class UnknownMetricError(ValueError):
    """Validation does not measure the metric of the search."""


@dataclass(frozen=True)
class Verdict:
    """The state of a trial: over in some way, or open with runs that no job works on."""

    kind: Kind
    reason: str = ""
    idle: tuple[str, ...] = ()


IDLE = (*INTERRUPTED, "planned")


def judge(states: Mapping[str, RunState], runs: Path) -> Verdict:
    """The verdict on a trial from the states of its runs."""
    if all(state.state in DONE for state in states.values()):
        return Verdict("complete")
    for name, state in states.items():
        if state.has_failed:
            return Verdict("failed", f"{name}: {state.detail}")
    if any(is_pruned(runs / name) for name in states):
        return Verdict("pruned")
    return Verdict("open", idle=tuple(name for name in states if states[name].state in IDLE))


def final_value(run_dirs: Sequence[Path], metric: str) -> float:
    """Mean over finished runs of a validation metric at their best step.

    Raises UnknownMetricError if there is no such metric; the value may not be finite.
    """
    values = []
    for run_dir in run_dirs:
        result = read_json_object(run_dir / "result.json") or {}
        values.append(_take(result.get("metrics", {}), metric))
    return sum(values) / len(values)


def validation_values(run_dirs: Sequence[Path], metric: str) -> dict[int, float]:
    """Mean of a metric by step, at the validation steps that all runs have reached."""
    series = [_series(run_dir / "metrics.jsonl", metric) for run_dir in run_dirs]
    steps = sorted(set.intersection(*(set(values) for values in series)))
    return {step: sum(values[step] for values in series) / len(series) for step in steps}


def is_usable(value: float) -> bool:
    """Whether a value can be used for a trial."""
    return math.isfinite(value)


def _series(path: Path, metric: str) -> dict[int, float]:
    """The metric by step; a line that is still being written is left out."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    values = {}
    for line in text.splitlines():
        if '"split": "val"' not in line:
            continue
        try:
            content = json.loads(line)
        except ValueError:
            break
        values[int(content["step"])] = _take(content, metric)
    return values


def _take(metrics: Mapping[str, Any], metric: str) -> float:
    if metric not in metrics:
        names = [name for name in metrics if name not in ("step", "epoch", "split")]
        hint = suggestion(metric, names).replace("allowed", "known")
        raise UnknownMetricError(f"sweep.search.metric={metric} is not measured{hint}")
    return float(metrics[metric])
