"""The preparation command: check, and submit what is missing.

Missing shards become tasks that make them, then one that writes the manifest.
"""

import collections
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from data_prep.settings.sources import MedmnistSourceConfig, MnistSourceConfig
from launch.cluster import slurm
from launch.cluster.checks import check_cluster
from launch.cluster.settings import InlineConfig, LocalConfig, SlurmConfig
from launch.cluster.slurm import ArrayCut, cut_into_arrays
from launch.cluster.submission import (
    JobRecord,
    array_limit,
    new_name,
    read_records,
    sbatch_text,
    submit_arrays,
    submit_workers,
)
from launch.jobs.liveness import LiveJob, find_live
from launch.preparation.directory import (
    MANIFEST_TASK,
    JobsDirectory,
    PreparationRequest,
    PrepareOrder,
    default_shards_per_task,
    group_shards,
    read_request,
)
from launch.preparation.job import PrepareJob, PrepareWorker
from launch.snapshot import Snapshot, take_snapshot
from orbit.core.code import packages_to_carry
from orbit.core.config.program import command_for
from orbit.core.files.lock import DirectoryLock
from orbit.core.printing import say
from orbit.core.progress import Progress
from orbit.core.user_text import counted

KIND = "prepare"
OWN_CODE_ONLY = "PYTHONSAFEPATH"
"""With this, Python imports no code from the directory from which the job was submitted."""

Tasks = Mapping[str, tuple[str, ...]]


def cluster_for_shards(cluster: SlurmConfig | LocalConfig) -> SlurmConfig | LocalConfig:
    """A cluster's settings with the resources of one task: one CPU of one node."""
    if isinstance(cluster, LocalConfig):
        return dataclasses.replace(cluster, num_ranks=1, gpus=())
    return dataclasses.replace(
        cluster,
        nodes=1,
        tasks_per_node=1,
        gpus_per_node=0,
        cpus_per_task=1,
        setup=(*cluster.setup, f"export {OWN_CODE_ONLY}=1"),
    )


def cluster_for_manifest(cluster: SlurmConfig) -> SlurmConfig:
    """The same for the job that waits for all shards; it ends if one of them fails."""
    return dataclasses.replace(
        cluster, options={**(cluster.options or {}), "kill-on-invalid-dep": "yes"}
    )


def make_tasks(
    files: Sequence[str], cluster: SlurmConfig | LocalConfig, shards_per_task: int | None
) -> dict[str, tuple[str, ...]]:
    """Missing shards as tasks."""
    if shards_per_task is None:
        limit = array_limit(cluster) if isinstance(cluster, SlurmConfig) else len(files)
        shards_per_task = default_shards_per_task(len(files), max(1, limit))
    return group_shards(files, shards_per_task)


def make_order(
    config: PrepareConfig, cluster: SlurmConfig | LocalConfig, tasks: Tasks, code: Snapshot
) -> PrepareOrder:
    """The order for the jobs. They neither overwrite nor download: both have been done before."""
    source = config.source
    if isinstance(source, MnistSourceConfig | MedmnistSourceConfig):
        source = dataclasses.replace(source, download=False)
    order = PrepareOrder(
        config=dataclasses.replace(config, source=source, overwrite=False),
        code=str(code.path),
        digest=code.digest,
        tasks=dict(tasks),
        max_restarts=cluster.retry.max_preemptions,
    )
    if isinstance(cluster, SlurmConfig):
        return dataclasses.replace(
            order,
            time_limit_s=cluster.time_min * 60.0,
            signal_before_s=float(cluster.signal_before_s),
        )
    return order


def submit(
    order: PrepareOrder, cluster: SlurmConfig | LocalConfig, directory: JobsDirectory
) -> list[JobRecord]:
    """Submit the tasks and the job that writes the manifest; returns the records."""
    label = Path(order.config.out).name
    folder = str(directory.write_order(new_name(label), order))
    code = Path(order.code)
    if isinstance(cluster, LocalConfig):
        with _own_code_only():
            return [
                submit_workers(
                    cluster,
                    directory.path,
                    code,
                    label,
                    KIND,
                    [*order.tasks, MANIFEST_TASK],
                    lambda record, number: PrepareWorker(str(record), folder),
                )
            ]

    def job_of(task: str) -> PrepareJob:
        return PrepareJob(folder, task)

    arrays = submit_arrays(cluster, directory.path, code, label, KIND, [*order.tasks], job_of)
    ids = [record.job_id for record in arrays if record.job_id is not None]
    last = cluster_for_manifest(cluster)
    return arrays + submit_arrays(
        last, directory.path, code, label, KIND, [MANIFEST_TASK], job_of, after=ids
    )


def describe_submission(
    tasks: Tasks, cluster: SlurmConfig | LocalConfig, directory: JobsDirectory
) -> list[str]:
    """Describe what would be requested from the cluster."""
    if isinstance(cluster, LocalConfig):
        num_workers = min(cluster.max_running, len(tasks) + 1)
        return [f"workers on this machine: {num_workers}"]
    cuts = cut_into_arrays([*tasks], array_limit(cluster), cluster.max_running)
    lines = [f"job arrays: {len(cuts)}, then a job that writes the manifest"]
    first = cuts[0] if cuts else ArrayCut((MANIFEST_TASK,), 1, None)
    text = sbatch_text(cluster, directory.path, directory.code / "CODE", "orbit-NAME", first)
    return [*lines, "", "batch script of the first of them:", "", text]


@contextmanager
def _own_code_only() -> Iterator[None]:
    before = os.environ.get(OWN_CODE_ONLY)
    os.environ[OWN_CODE_ONLY] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[OWN_CODE_ONLY]
        else:
            os.environ[OWN_CODE_ONLY] = before


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
