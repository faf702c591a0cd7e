"""From missing shards to jobs: tasks that make them, then one that writes the manifest."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from data_prep.settings import PrepareConfig
from data_prep.settings.sources import MedmnistSourceConfig, MnistSourceConfig
from launch.cluster.records import JobRecord, new_name
from launch.cluster.settings import LocalConfig, SlurmConfig
from launch.cluster.slurm import ArrayCut, cut_into_arrays
from launch.cluster.submission import array_limit, sbatch_text, submit_arrays, submit_workers
from launch.preparation.directory import (
    MANIFEST_TASK,
    JobsDirectory,
    PrepareOrder,
    default_shards_per_task,
    group_shards,
)
from launch.preparation.job import PrepareJob, PrepareWorker
from launch.snapshot import Snapshot

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
