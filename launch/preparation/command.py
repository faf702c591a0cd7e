"""The preparation command: check, and submit what is missing."""

import collections
from collections.abc import Sequence
from pathlib import Path

from data_prep.building.builder import (
    abandon_build,
    build_dataset,
    check_free_space,
    check_name,
    has_finished_shards,
    is_complete,
    is_shard_finished,
    make_folders,
    seems_finished,
    start_build,
)
from data_prep.building.recipe import Recipe, ShardPlan
from data_prep.recipes import make_recipe
from data_prep.settings import PrepareConfig
from launch.cluster import slurm
from launch.cluster.checks import check_cluster
from launch.cluster.records import JobRecord, read_records
from launch.cluster.settings import InlineConfig, LocalConfig, SlurmConfig
from launch.jobs.liveness import LiveJob, find_live
from launch.preparation.directory import JobsDirectory, PreparationRequest, read_request
from launch.preparation.submission import (
    KIND,
    cluster_for_shards,
    describe_submission,
    make_order,
    make_tasks,
    submit,
)
from launch.snapshot import take_snapshot
from orbit.core.code import packages_to_carry
from orbit.core.config.program import command_for
from orbit.core.files.lock import DirectoryLock
from orbit.core.printing import say
from orbit.core.progress import Progress
from orbit.core.user_text import counted

REPOSITORY = Path(__file__).resolve().parents[2]
NEVER = "DependencyNeverSatisfied"
NUM_SHOWN_FAILURES = 3


def run_preparation(overrides: Sequence[str]) -> int:
    """Submit the requested preparation, or print its progress; returns the exit code."""
    request, config = read_request(overrides)
    recipe = make_recipe(config)
    out = Path(config.out)
    check_name(out)
    directory = JobsDirectory(out)
    cluster = request.cluster
    if isinstance(cluster, InlineConfig):
        return _run_inline(config, recipe, directory, request.dry_run)
    cluster = cluster_for_shards(cluster)
    for line in check_cluster(cluster, directory.path):
        say(f"not checked: {line}")
    if request.dry_run:
        return _describe(request, config, cluster, recipe, directory)
    if not config.overwrite and is_complete(recipe, out):
        return _say_complete(recipe, out)
    make_folders(out)
    with DirectoryLock(out, "preparations") as lock:
        if _is_under_way(config, recipe, directory):
            return 0
        if not start_build(recipe, out, config.overwrite):
            return _say_complete(recipe, out)
        is_continued = True
        try:
            is_continued = has_finished_shards(out)
            missing = missing_shards(recipe, out)
            check_free_space(out, missing)
            _show_failures(directory)
            tasks = make_tasks([plan.file for plan in missing], cluster, request.shards_per_task)
            code = take_snapshot(
                REPOSITORY, directory.code, [out, directory.path], packages_to_carry()
            )
        except Exception as error:
            abandon_build(out, error, is_continued, lock)
            raise
        say("\n".join(_counts(recipe, missing, len(tasks))))
        lock.check_owned()
        records = submit(make_order(config, cluster, tasks, code), cluster, directory)
    _show_records(records, directory)
    return 0


def live_jobs(directory: JobsDirectory) -> dict[str, LiveJob]:
    """Waiting and running tasks by name; ValueError if the cluster cannot be asked.

    A job whose dependency can no longer be satisfied is cancelled and does not count.
    """
    liveness = find_live(directory.path, read_records(directory.path, (KIND,)))
    if liveness.unchecked is not None:
        raise ValueError(f"cannot tell which jobs are waiting or running: {liveness.unchecked}")
    dead = {task: job for task, job in liveness.jobs.items() if job.reason == NEVER}
    try:
        slurm.cancel(job.job for job in dead.values())
    except slurm.SlurmError:
        pass  # It has ended already.
    return {task: job for task, job in liveness.jobs.items() if task not in dead}


def missing_shards(recipe: Recipe, out: Path) -> list[ShardPlan]:
    """Shards that are missing, or differ from what was written."""
    return [plan for plan in recipe.plans() if not is_shard_finished(out, plan)]


def _is_under_way(config: PrepareConfig, recipe: Recipe, directory: JobsDirectory) -> bool:
    """Whether jobs are working on it; prints their progress."""
    live = live_jobs(directory)
    if not live:
        return False
    out = Path(config.out)
    if config.overwrite:
        raise ValueError(
            f"{out} is being prepared by {_count(len(live), 'task')}, so overwrite=true must wait;"
            f" to end them: {command_for('cancel')} {directory.path}"
        )
    if is_complete(recipe, out):
        _say_complete(recipe, out)
        return True
    plans = recipe.plans()
    num_finished = sum(seems_finished(out, plan) for plan in plans)
    counts = collections.Counter(
        f"waiting ({job.reason})" if job.state == "waiting" else job.state for job in live.values()
    )
    shown = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
    say(f"{out} is being prepared: {num_finished} of {len(plans)} shards finished")
    say(f"tasks: {shown}; nothing was submitted")
    return True


def _run_inline(
    config: PrepareConfig, recipe: Recipe, directory: JobsDirectory, dry_run: bool
) -> int:
    out = Path(config.out)
    if _is_under_way(config, recipe, directory):
        return 0
    plans = recipe.plans()
    if dry_run:
        if not config.overwrite and is_complete(recipe, out):
            return _say_complete(recipe, out)
        shards, workers = counted(len(plans), "shard"), counted(config.num_workers, "worker")
        say(f"{shards}, to be made in this process by {workers}")
        return 0
    with Progress(len(plans), "shards", recipe.name) as progress:
        build_dataset(
            recipe, out, config.num_workers, config.overwrite, lambda plan: progress.advance()
        )
    return _say_complete(recipe, out)


def _describe(
    request: PreparationRequest,
    config: PrepareConfig,
    cluster: SlurmConfig | LocalConfig,
    recipe: Recipe,
    directory: JobsDirectory,
) -> int:
    """Print what would be submitted; changes nothing."""
    out = Path(config.out)
    if not config.overwrite and is_complete(recipe, out):
        return _say_complete(recipe, out)
    if _is_under_way(config, recipe, directory):
        return 0
    missing = list(recipe.plans()) if config.overwrite else missing_shards(recipe, out)
    check_free_space(next(path for path in (out, *out.parents) if path.exists()), missing)
    tasks = make_tasks([plan.file for plan in missing], cluster, request.shards_per_task)
    lines = [*_counts(recipe, missing, len(tasks)), *describe_submission(tasks, cluster, directory)]
    say("\n".join(lines))
    return 0


def _counts(recipe: Recipe, missing: Sequence[ShardPlan], num_tasks: int) -> list[str]:
    num_shards = len(recipe.plans())
    mib = sum(plan.layout.num_bytes() for plan in missing) / 2**20
    return [
        f"{recipe.name}: {num_shards} shards, {num_shards - len(missing)} finished",
        f"to make: {_count(len(missing), 'shard')} ({mib:,.1f} MiB) in"
        f" {_count(num_tasks, 'task')}, and the manifest",
    ]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _show_failures(directory: JobsDirectory) -> None:
    failures = directory.last_failures()
    for task, message in list(failures.items())[:NUM_SHOWN_FAILURES]:
        say(f"failed before: {task}: {message}")
    if len(failures) > NUM_SHOWN_FAILURES:
        say(f"failed before: {len(failures) - NUM_SHOWN_FAILURES} others")


def _show_records(records: Sequence[JobRecord], directory: JobsDirectory) -> None:
    for record in records:
        workers = f"{_count(len(record.processes), 'worker')} here"
        where = f"job {record.job_id}" if record.job_id else workers
        say(f"submitted {_count(len(record.tasks), 'task')}: {where} ({record.name})")
    say(f"logs in {directory.path / 'logs'}; the same command says how far it is")


def _say_complete(recipe: Recipe, out: Path) -> int:
    say(f"{recipe.name} is complete in {out}")
    return 0
