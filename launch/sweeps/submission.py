"""From a plan to jobs: preparing run directories, then submitting them to the cluster.

Runs of one sweep are averaged and compared, but runs of different code are not. So a submission
with other code than that of the existing runs is refused, unless `any_code=true` is set.
"""

import functools
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from launch.cluster.settings import (
    ClusterConfig,
    InlineConfig,
    LocalConfig,
    RetryConfig,
    SlurmConfig,
)
from launch.cluster.slurm import ArrayCut, cut_into_arrays
from launch.cluster.submission import (
    JobRecord,
    array_limit,
    new_name,
    sbatch_text,
    submit_arrays,
    submit_workers,
)
from launch.jobs.codes import Spans, labels, read_spans
from launch.jobs.deciding import ERROR_FILE, ORDER_FILE, Order, write_order
from launch.jobs.history import newest_step
from launch.jobs.run_state import CANCELLED_FILE, ENDED_FILE
from launch.jobs.train_job import LocalWorker, TrainJob
from launch.snapshot import Snapshot
from launch.sweeps.expansion import PlannedRun
from launch.sweeps.plan import SweepDirectory
from orbit.core.code import Code, code_of, differing_packages, used_in_training, went_on
from orbit.core.files.atomic import read_json_object
from orbit.core.store.manifest import read_manifest
from pipeline.training.run_directory import RunDirectory, differing_keys
from pipeline.training.settings import TrainConfig, as_decided, with_plugins

ANY_CODE = "any_code=true"


def code_of_run(config: TrainConfig) -> Code:
    """The code that would train a run now."""
    return _code_of(used_in_training(with_plugins(config).plugins, _plugins_of(config.data)))


def mixed_code(
    directory: SweepDirectory, known: Iterable[str], to_submit: Sequence[PlannedRun]
) -> str | None:
    """A description of how the runs to submit would differ in code from the named runs; None if
    they do not."""
    ours = [run.name for run in to_submit]
    others = [name for name in dict.fromkeys(known) if name not in ours]
    made = [(name, _spans(directory.runs / name)) for name in others]
    there = [spans for _, spans in made if spans is not None]
    coming = [_coming(directory.runs / run.name, run.config) for run in to_submit]
    names = labels([*there, *coming])
    before, after = names[: len(there)], names[len(there) :]
    num_resumed = sum(len(spans) > 1 for spans in coming)
    if num_resumed and not any(name in before for name in after):
        changed = _changed([spans[:1] for spans in coming if len(spans) > 1], coming)
        return (
            f"{num_resumed} of the runs to submit would continue from checkpoints of other code"
            f" ({changed})"
        )
    num_other = sum(name not in after for name in before)
    if there and any(name not in before for name in after):
        return (
            f"{num_other} existing {'run has' if num_other == 1 else 'runs have'} other code than"
            f" the current one ({_changed(there, coming)})"
        )
    return None


def refuse_mix(complaint: str | None, any_code: bool) -> list[str]:
    """A line about the mix if `any_code=true` is set; raises ValueError otherwise."""
    if complaint is None:
        return []
    if not any_code:
        raise ValueError(
            f"{complaint}: such runs are not averaged together. Choose another sweep_dir, return"
            f" to the earlier code, or set {ANY_CODE}"
        )
    return [f"a mix of code, allowed by {ANY_CODE}: {complaint}"]


def _spans(run_dir: Path) -> Spans | None:
    """The codes that made a run or, before it starts, the code that was submitted with it."""
    spans = read_spans(run_dir)
    packages = None
    if spans is None:
        packages = (read_json_object(run_dir / ORDER_FILE) or {}).get("packages")
    return ({"packages": packages},) if packages else spans


def _coming(run_dir: Path, config: TrainConfig) -> Spans:
    """The codes of a run after it continues with the current code."""
    step = newest_step(run_dir)
    before = read_spans(run_dir) if step else None
    return tuple(went_on(list(before or ()) or None, step, code_of_run(config), None))


def _changed(before: Sequence[Spans], after: Sequence[Spans]) -> str:
    """The packages that changed, as a text."""
    found: dict[str, Any] = {}
    for spans in before:
        for span in spans:
            found |= dict.fromkeys(differing_packages(span, after[0][-1]))
    unknown = any(not span.get("packages") for spans in before for span in spans or ({},))
    changed = f"changed: {', '.join(found)}" if found else ""
    return changed or ("made before codes were recorded" if unknown else "other code")


@functools.cache
def _code_of(used: tuple[str, ...]) -> Code:
    """One for all runs with the same plug-ins: asking who installed a package takes a while."""
    return code_of(used)


@functools.cache
def _plugins_of(data: str) -> tuple[str, ...]:
    """Those of a dataset's manifest; none if only the nodes see the dataset."""
    return read_manifest(Path(data)).plugins if Path(data).exists() else ()


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
