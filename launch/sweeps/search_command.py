"""The sweep command for an Optuna search: checks, then one controller, which does the rest.

The controller's job is small, and is requeued when it is interrupted.
"""

import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from launch.cluster.settings import InlineConfig, LocalConfig, SlurmConfig
from launch.cluster.slurm import ArrayCut, in_slurm, slurm_place
from launch.cluster.submission import (
    JobRecord,
    read_records,
    sbatch_text,
    submit_arrays,
    submit_workers,
)
from launch.jobs.attempt import StopNote
from launch.jobs.deciding import request_restart
from launch.jobs.liveness import find_live
from launch.jobs.run_state import CANCELLED_FILE
from launch.snapshot import Snapshot, take_snapshot
from launch.sweeps.expansion import PlannedRun, Resolver, with_seeds
from launch.sweeps.plan import SweepDirectory, describe_hours, mean_pace, read_like
from launch.sweeps.request import REPOSITORY, SweepRequest, check_before
from launch.sweeps.search import (
    SUMMARY_FILE,
    SearchOrder,
    num_parallel,
    run_search,
    show_summary,
    write_search_order,
    write_summary,
)
from launch.sweeps.search_space import describe_search, example_points
from launch.sweeps.settings import OptunaSearch, SweepConfig
from launch.sweeps.study import JOURNAL, SearchStudy, mend_journal, require_optuna
from launch.sweeps.submission import mixed_code, refuse_mix
from orbit.core.code import packages_to_carry
from orbit.core.config.compose import split_override
from orbit.core.config.program import EXIT_STOPPED, ExitWithCode, command_for, describe_error
from orbit.core.config.roots import WORD, own_roots
from orbit.core.config.schema import path_keys
from orbit.core.files.atomic import read_json_object, write_json
from orbit.core.files.listing import list_folder
from orbit.core.files.lock import DirectoryLock
from orbit.core.files.waiting import StoppedWaiting, trying_again
from orbit.core.printing import say
from pipeline.training.settings import TrainConfig

FAILURE_FILE = "search_error.json"
MEMORY_GB = 4.0
NOT_FOR_CONTROLLERS = ("gpu", "gres", "exclusive", "ntasks", "tres", "mem", "switches")
"""Beginnings of sbatch options for a run's resources, which controllers do not need."""


class SearchJob:
    """Works on the search of a sweep directory; everything else is read from that directory."""

    def __init__(self, sweep_dir: str) -> None:
        self.sweep_dir = sweep_dir

    def __call__(self) -> str:
        """Returns how it ended; exits with 1, and says why in search_error.json, if it failed."""
        stop = StopNote()
        stop.install()
        folder = Path(self.sweep_dir)

        def should_stop() -> bool:
            return stop.signal is not None

        from launch.sweeps.search import run_search

        try:
            outcome = trying_again(
                lambda: run_search(folder, should_stop, say), "the search", should_stop
            )
        except StoppedWaiting:
            outcome = "stopped"
        except (ValueError, OSError, ImportError) as error:
            message = describe_error(error)
            write_json(folder / FAILURE_FILE, {"message": message, "time": time.time()})
            say(f"the search ended: {message}", error=True)
            sys.exit(1)
        if outcome == "stopped" and in_slurm():
            assert stop.signal is not None
            why = f"told to stop by {stop.signal.name}"
            request_restart(slurm_place(os.environ).job, why, folder / CANCELLED_FILE)
        return outcome


def controller_resources(cluster: SlurmConfig) -> SlurmConfig:
    """The same cluster with the resources of a controller: one CPU of one node."""
    options = {
        key: value
        for key, value in (cluster.options or {}).items()
        if not key.startswith(NOT_FOR_CONTROLLERS)
    }
    memory = None if cluster.memory_gb is None else min(cluster.memory_gb, MEMORY_GB)
    return dataclasses.replace(
        cluster,
        nodes=1,
        tasks_per_node=1,
        gpus_per_node=0,
        cpus_per_task=1,
        memory_gb=memory,
        options=options,
    )


TASK = "search"


def start_search(request: SweepRequest, directory: SweepDirectory, overrides: Sequence[str]) -> int:
    """Start a search, or continue it; returns the exit code."""
    search = request.sweep.search
    assert isinstance(search, OptunaSearch)
    if not request.retry_failed:
        raise ValueError("retry_failed=false has no effect on a search: failed trials stay failed")
    require_optuna()
    overrides = [_absolute(override) for override in overrides]
    resolver = Resolver(overrides, directory.runs)
    examples = example_runs(resolver, request.sweep)
    for line in check_before(request, examples, resolver.datasets()):
        say(f"not checked: {line}")
    say("\n".join(_describe(request)))
    description = _description(request.sweep, examples[0])
    if request.dry_run:
        return _rehearse(request, directory, description, examples[0])
    with DirectoryLock(directory.path, "submissions") as lock:
        at_work = live_controller(directory)
        if at_work is not None:
            say(f"a controller is running and left alone: {at_work}")
            return 0
        mend_journal(directory.path / JOURNAL)
        study = SearchStudy(directory.path, search)
        study.bind(description)
        for line in _say_before(directory, study):
            say(line)
        if study.is_over():
            say("\n".join(show_summary(write_summary(directory.path, search, study))))
            say("nothing to submit: raise sweep.search.num_trials to go on")
            return 0
        known = list(directory.read_plan()) if directory.exists() else []
        mix = mixed_code(directory, known, examples[:1])
        for line in refuse_mix(mix, request.any_code):
            say(line)
        code = take_snapshot(
            REPOSITORY, directory.code, leave_out=(directory.path,), packages=packages_to_carry()
        )
        order = SearchOrder(
            # The controller composes runs itself, on whatever node it runs.
            (*(f"{WORD}={root}" for root in own_roots()), *overrides),
            request.sweep,
            request.cluster,
            request.stage,
            str(code.path),
            code.digest,
        )
        lock.check_owned()
        _write_beginning(request, directory, overrides, order)
        if not isinstance(request.cluster, InlineConfig):
            return _submit(request.cluster, directory, code)
    return _run_here(directory)


def example_runs(resolver: Resolver, sweep: SweepConfig) -> list[PlannedRun]:
    """The runs at a few points of the space; ValueError if all of these are refused."""
    search = sweep.search
    assert isinstance(search, OptunaSearch)
    runs: list[PlannedRun] = []
    refusals: list[ValueError] = []
    for point in example_points(search.space):
        try:
            runs += resolver.resolve(with_seeds([point], sweep.seeds))
        except ValueError as error:
            refusals.append(error)
    if not runs:
        raise refusals[0]
    return runs


def live_controller(directory: SweepDirectory) -> str | None:
    """The waiting or running controller, None if there is none; ValueError if that is unknown."""
    records = read_records(directory.path, ("search",))
    liveness = find_live(directory.path, records)
    if liveness.unchecked is not None:
        raise ValueError(f"cannot tell whether a controller is running: {liveness.unchecked}")
    for job in liveness.jobs.values():
        return f"{job.state}, {job.job}"
    return None


def _absolute(override: str) -> str:
    """The overrides with absolute paths, because the controller may run in another folder."""
    key, text = split_override(override)
    return f"{key}={Path(text).absolute()}" if key in path_keys(TrainConfig) and text else override


def _description(sweep: SweepConfig, example: PlannedRun) -> dict[str, object]:
    from orbit.core.store.manifest import read_manifest

    assert isinstance(sweep.search, OptunaSearch)
    dataset = read_manifest(Path(example.config.data)).fingerprint
    return describe_search(sweep.search, sweep.seeds, example.config, dataset)


def _describe(request: SweepRequest) -> list[str]:
    search, num_seeds = request.sweep.search, len(request.sweep.seeds)
    assert isinstance(search, OptunaSearch)
    each = "one run" if num_seeds == 1 else f"{num_seeds} runs"
    lines = [
        f"search: {search.num_trials} trials of {each} each, {search.direction} {search.metric}"
    ]
    possible = num_parallel(search.num_parallel, num_seeds, request.cluster)
    if possible < search.num_parallel:
        why = "trains one run at a time"
        if isinstance(request.cluster, LocalConfig):
            why = f"has max_running={request.cluster.max_running}"
        lines.append(
            f"trials at a time: {possible}, not num_parallel={search.num_parallel}:"
            f" cluster={request.cluster.name} {why}"
        )
    return lines


def _rehearse(
    request: SweepRequest,
    directory: SweepDirectory,
    description: dict[str, object],
    example: PlannedRun,
) -> int:
    """Print what would be submitted, and how long all trials take if none is pruned; writes
    nothing."""
    search = request.sweep.search
    assert isinstance(search, OptunaSearch)
    pace = mean_pace(list_folder(directory.runs)) or read_like(request.like)
    all_runs = [example] * (search.num_trials * len(request.sweep.seeds))
    say(describe_hours(all_runs, {}, pace, request.cluster))
    if (directory.path / JOURNAL).exists():
        study = SearchStudy(directory.path, search)
        study.check(description)
        shown = ", ".join(f"{number} {state}" for state, number in study.counts().items())
        say(f"trials so far: {shown}")
    if isinstance(request.cluster, SlurmConfig):
        cut = ArrayCut((TASK,), 1, None)
        cluster = controller_resources(request.cluster)
        text = sbatch_text(cluster, directory.path, directory.code / "CODE", "orbit-NAME", cut)
        say(f"\nbatch script of the controller, which submits the trials:\n\n{text}")
    return 0


def _say_before(directory: SweepDirectory, study: SearchStudy) -> list[str]:
    """Print the results of earlier calls."""
    counts = {state: number for state, number in study.counts().items() if number}
    lines = [f"trials so far: {', '.join(f'{n} {s}' for s, n in counts.items())}"] if counts else []
    failure = read_json_object(directory.path / FAILURE_FILE)
    if failure is not None:
        lines.append(f"the last controller ended: {failure.get('message')}")
    return lines


def _write_beginning(
    request: SweepRequest, directory: SweepDirectory, overrides: Sequence[str], order: SearchOrder
) -> None:
    for name in (SUMMARY_FILE, FAILURE_FILE, CANCELLED_FILE):
        (directory.path / name).unlink(missing_ok=True)
    directory.write_request(overrides, request.sweep, request.cluster)
    if not directory.exists():
        directory.write_plan({})
    write_search_order(directory.path, order)


def _submit(cluster: SlurmConfig | LocalConfig, directory: SweepDirectory, code: Snapshot) -> int:
    """Submit the controller and say so."""
    job, label = SearchJob(str(directory.path)), directory.path.name
    records: list[JobRecord]
    if isinstance(cluster, LocalConfig):
        here = LocalConfig("local")
        records = [
            submit_workers(here, directory.path, code.path, label, TASK, [TASK], lambda *_: job)
        ]
    else:
        resources = controller_resources(cluster)
        records = submit_arrays(
            resources, directory.path, code.path, label, TASK, [TASK], lambda _: job
        )
    where = f"job {records[0].job_id}" if records[0].job_id else "a process here"
    say(f"submitted the controller of the search: {where} ({records[0].name})")
    say(code.describe())
    say(f"look with: {command_for('status')} {directory.path}")
    return 0


def _run_here(directory: SweepDirectory) -> int:
    """Run the controller in this process; returns 1 if no trial has a value at the end."""
    try:
        run_search(directory.path, lambda: False, say)
    except ExitWithCode as error:
        if error.code == EXIT_STOPPED:
            raise ExitWithCode("asked to stop: the same command goes on", error.code) from None
        raise
    summary = read_json_object(directory.path / SUMMARY_FILE) or {}
    say("\n".join(show_summary(summary)))
    return 0 if summary.get("best") else 1
