"""From a plan to jobs: preparing run directories, then submitting them to the cluster."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from launch.cluster.records import JobRecord, new_name
from launch.cluster.settings import (
    ClusterConfig,
    InlineConfig,
    LocalConfig,
    RetryConfig,
    SlurmConfig,
)
from launch.cluster.slurm import ArrayCut, cut_into_arrays
from launch.cluster.submission import array_limit, sbatch_text, submit_arrays, submit_workers
from launch.jobs.deciding import ERROR_FILE, Order, write_order
from launch.jobs.local_worker import LocalWorker
from launch.jobs.run_state import CANCELLED_FILE, ENDED_FILE
from launch.jobs.train_job import TrainJob
from launch.snapshot import Snapshot
from launch.sweeps.expansion import PlannedRun
from launch.sweeps.mixing import code_of_run
from launch.sweeps.plan import SweepDirectory
from pipeline.training.run_directory import RunDirectory, differing_keys
from pipeline.training.settings import as_decided, with_plugins

NUM_WRITERS = 8


def prepare_runs(
    runs: Sequence[PlannedRun],
    directory: SweepDirectory,
    cluster: ClusterConfig,
    code: Snapshot,
    stage: bool,
) -> None:
    """Write config.yaml and launch.json of every run and remove errors of earlier attempts.

    Raises ValueError if a run directory holds another configuration under the same name.
    """
    submission = new_name("submission")

    def prepare(run: PlannedRun) -> None:
        path = directory.runs / run.name
        run_directory = RunDirectory(path)
        recorded = run_directory.recorded_config()
        config = with_plugins(as_decided(run.config, recorded))
        if recorded is not None:
            differing = differing_keys(recorded, config)
            if differing:
                raise ValueError(f"{path} holds another configuration: {'; '.join(differing)}")
        path.mkdir(parents=True, exist_ok=True)
        for name in (ERROR_FILE, CANCELLED_FILE, ENDED_FILE):
            (path / name).unlink(missing_ok=True)
        run_directory.write_config(config)
        write_order(path, make_order(submission, run, cluster, code, stage))

    # Most of the time is waiting for the disk, or for a file server.
    with ThreadPoolExecutor(NUM_WRITERS) as pool:
        list(pool.map(prepare, runs))


def make_order(
    submission: str, run: PlannedRun, cluster: ClusterConfig, code: Snapshot, stage: bool
) -> Order:
    """The order for the jobs of a run."""
    limits: tuple[float | None, float, float] = (None, 60.0, 300.0)
    if isinstance(cluster, SlurmConfig):
        limits = (cluster.time_min * 60.0, cluster.signal_before_s, cluster.join_timeout_s)
    retry = RetryConfig() if isinstance(cluster, InlineConfig) else cluster.retry
    return Order(
        submission=submission,
        code=str(code.path),
        digest=code.digest,
        num_ranks=cluster.num_ranks,
        time_limit_s=limits[0],
        signal_before_s=limits[1],
        join_timeout_s=limits[2],
        stage=cluster.node_disk if stage else None,
        data=run.config.data,
        retry=retry,
        packages=dict(code_of_run(run.config).packages),
    )


def submit_runs(
    names: Sequence[str],
    directory: SweepDirectory,
    cluster: SlurmConfig | LocalConfig,
    code: Path,
    hold: bool = False,
) -> list[JobRecord]:
    """Submit the runs; returns a record for each job array."""
    label = directory.path.name
    if isinstance(cluster, LocalConfig):
        runs = str(directory.runs)
        return [
            submit_workers(
                cluster,
                directory.path,
                code,
                label,
                "train",
                names,
                lambda record, number: LocalWorker(str(record), runs),
            )
        ]
    return submit_arrays(
        cluster,
        directory.path,
        code,
        label,
        "train",
        names,
        lambda name: TrainJob(str(directory.runs / name)),
        hold=hold,
    )


def describe_submission(
    names: Sequence[str], directory: SweepDirectory, cluster: ClusterConfig, code: Path
) -> list[str]:
    """Describe what would be requested from the cluster: jobs, hours, and the script of the first
    array."""
    if not isinstance(cluster, SlurmConfig):
        return [f"cluster: {cluster.name}"]
    cuts = cut_into_arrays(names, array_limit(cluster), cluster.max_running)
    hours = len(names) * cluster.time_min / 60
    lines = [
        f"job arrays: {len(cuts)}",
        f"requests at most: {hours * cluster.nodes * cluster.gpus_per_node:,.1f} GPU-hours,"
        f" {hours * cluster.num_ranks * cluster.cpus_per_task:,.1f} core-hours",
    ]
    if cuts:
        example = ArrayCut(cuts[0].tasks, cuts[0].num_parallel, None)
        text = sbatch_text(cluster, directory.path, code, "orbit-NAME", example)
        lines += ["", f"batch script of the first of {len(cuts)} arrays:", "", text]
    return lines
