"""The evaluation command: find missing evaluations, submit them; and the jobs that evaluate."""

import dataclasses
import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from launch.cluster.checks import check_cluster
from launch.cluster.settings import ClusterConfig, InlineConfig, LocalConfig, SlurmConfig
from launch.cluster.slurm import in_slurm, slurm_place
from launch.cluster.submission import (
    JobRecord,
    read_record,
    read_records,
    submit_arrays,
    submit_workers,
)
from launch.evaluation.evaluator import EvaluateRequest, Evaluator, Target, Work, find_runs
from launch.jobs.attempt import StopNote
from launch.jobs.deciding import request_restart
from launch.jobs.liveness import find_live
from launch.snapshot import take_snapshot
from launch.sweeps.plan import PLAN_FILE
from orbit.core.code import packages_to_carry
from orbit.core.config.compose import compose
from orbit.core.config.roots import take_configs
from orbit.core.config.schema import build, path_keys
from orbit.core.files.atomic import write_json
from orbit.core.files.waiting import StoppedWaiting, trying_again
from orbit.core.printing import say
from orbit.core.user_text import counted


def write_task(path: Path, work: Work, targets: list[Target] | None) -> None:
    """Write the task of a job: these checkpoints, or with None all checkpoints that appear."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "work": asdict(work),
        "targets": None if targets is None else [asdict(target) for target in targets],
    }
    write_json(path, content)


def read_task(path: Path) -> tuple[Work, list[Target] | None]:
    """Read what `write_task` wrote."""
    content: dict[str, Any] = json.loads(path.read_text())
    targets = content["targets"]
    return (
        build(Work, content["work"]),
        None if targets is None else [build(Target, target) for target in targets],
    )


def run_task(path: Path, stop: StopNote) -> int:
    """Do one task; returns the number of checkpoints that could not be evaluated."""

    def should_stop() -> bool:
        return stop.signal is not None

    try:
        work, targets = trying_again(lambda: read_task(path), "the task", should_stop)
        evaluator = trying_again(
            lambda: Evaluator(work, say, should_stop), "the checkpoints", should_stop
        )
    except StoppedWaiting:
        return 0
    if targets is None:
        evaluator.watch()
    else:
        evaluator.evaluate(targets)
    return evaluator.num_failed


class EvaluateJob:
    """Does the task in a file; continues after a preemption or a time limit."""

    def __init__(self, task: str) -> None:
        self.task = task

    def __call__(self) -> int:
        """Returns the number of checkpoints that could not be evaluated."""
        stop = StopNote()
        stop.install()
        num_failed = run_task(Path(self.task), stop)
        if stop.signal is not None and in_slurm():
            request_restart(slurm_place(os.environ).job, f"told to stop by {stop.signal.name}")
        return num_failed


class EvaluateWorker:
    """A worker on this machine: does the tasks of a record; workers divide them by claims."""

    def __init__(self, record: str) -> None:
        self.record = record

    def __call__(self) -> int:
        """Returns the number of checkpoints that could not be evaluated."""
        stop = StopNote()
        stop.install()
        tasks = read_record(Path(self.record)).tasks
        return sum(run_task(Path(task), stop) for task in tasks if stop.signal is None)


REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT_CHECKPOINTS_PER_JOB = 20


def run_evaluation(overrides: Sequence[str]) -> int:
    """Submit evaluation jobs for checkpoints without a valid result; returns the exit code."""
    composed = compose("launch_evaluate", take_configs(overrides), path_keys(EvaluateRequest))
    request = build(EvaluateRequest, composed)
    runs = find_runs(request.runs)
    if not runs:
        raise FileNotFoundError(f"runs={request.runs}: no run directory there")
    base = jobs_directory(request, runs)
    work = make_work(request, base)
    if isinstance(request.cluster, InlineConfig):
        evaluator = Evaluator(work, say)
        if request.follow:
            evaluator.watch()
        else:
            evaluator.evaluate(evaluator.pending())
        say(f"{evaluator.num_evaluated} evaluated, {evaluator.num_failed} failed")
        _say_kept(evaluator)
        return 1 if evaluator.num_failed else 0
    for line in check_cluster(request.cluster, base):
        say(f"not checked: {line}")
    tasks = make_tasks(request, work, base)
    num_tasks = len(tasks)
    if request.dry_run or not num_tasks:
        return 0
    folder = base / "evaluation" / uuid.uuid4().hex[:12]
    files = []
    for number, targets in enumerate(tasks):
        file = folder / f"task_{number:05d}.json"
        write_task(file, work, targets)
        files.append(str(file))
    code = take_snapshot(REPOSITORY, base / "code", leave_out=(base,), packages=packages_to_carry())
    for record in _hand_over(request.cluster, base, code.path, files):
        workers = counted(len(record.processes), "worker")
        where = f"job {record.job_id}" if record.job_id else f"{workers} here"
        num = counted(len(record.tasks), "follower" if request.follow else "evaluation task")
        stay = ", until the runs end" if request.follow else ""
        say(f"submitted {num}: {where} ({record.name}){stay}")
    return 0


def make_tasks(request: EvaluateRequest, work: Work, base: Path) -> list[list[Target] | None]:
    """Lists of checkpoints, one a job; with follow=true, one open task for each evaluator."""
    live = _live_evaluations(base, work)
    if request.follow:
        num_watching = sum(targets is None for targets in live)
        num_wanted = request.num_evaluators or 1
        say(f"evaluators that follow the runs: {num_watching} alive, {num_wanted} wanted")
        return [None] * max(0, num_wanted - num_watching)
    under_way = {target for targets in live if targets is not None for target in targets}
    evaluator = Evaluator(work)
    pending = evaluator.pending()
    to_do = [target for target in pending if target not in under_way]
    say(
        f"checkpoints without a result: {len(pending)}, of them under way: "
        f"{len(pending) - len(to_do)}"
    )
    _say_kept(evaluator)
    size = request.checkpoints_per_job or DEFAULT_CHECKPOINTS_PER_JOB
    return [to_do[first : first + size] for first in range(0, len(to_do), size)]


def make_work(request: EvaluateRequest, base: Path) -> Work:
    """The description of the work for the evaluators."""
    data = None if request.data is None else str(Path(request.data).absolute())
    return Work(
        runs=str(Path(request.runs).absolute()),
        base=str(base),
        checkpoints=request.checkpoints,
        split=request.split,
        data=data,
        batch=request.batch,
        num_threads=request.num_threads,
        poll_s=10.0 if request.poll_s is None else request.poll_s,
        analyses=request.analyses,
        redo=request.redo,
    )


def jobs_directory(request: EvaluateRequest, runs: Sequence[Path]) -> Path:
    """Where jobs are recorded: the requested folder, or the sweep of the runs, or a folder beside
    them."""
    if request.jobs_dir is not None:
        return Path(request.jobs_dir).absolute()
    parent = runs[0].parent
    if parent.name == "runs" and (parent.parent / PLAN_FILE).exists():
        return parent.parent
    return parent / "evaluation_jobs"


def _live_evaluations(base: Path, work: Work) -> list[list[Target] | None]:
    """The tasks of waiting and running jobs that make the results of this work."""
    liveness = find_live(base, read_records(base, ("evaluate",)))
    if liveness.unchecked is not None:
        raise ValueError(f"cannot tell which evaluations are under way: {liveness.unchecked}")
    tasks = [read_task(Path(task)) for task in liveness.jobs]
    return [targets for their, targets in tasks if _is_same(their, work, targets is None)]


def _is_same(theirs: Work, ours: Work, is_watching: bool) -> bool:
    """Whether two descriptions of work give the same results for a checkpoint."""
    if ours.redo and not theirs.redo:
        return False
    keys = ["split", "data", "analyses"]
    keys += ["runs", "checkpoints"] if is_watching else []
    return all(getattr(theirs, key) == getattr(ours, key) for key in keys)


def _say_kept(evaluator: Evaluator) -> None:
    line = evaluator.kept()
    if line is not None:
        say(line)


def _hand_over(cluster: ClusterConfig, base: Path, code: Path, files: list[str]) -> list[JobRecord]:
    if isinstance(cluster, LocalConfig):
        return [
            submit_workers(
                cluster,
                base,
                code,
                "evaluate",
                "evaluate",
                files,
                lambda record, number: EvaluateWorker(str(record)),
            )
        ]
    assert isinstance(cluster, SlurmConfig)
    one_rank = dataclasses.replace(
        cluster, nodes=1, tasks_per_node=1, gpus_per_node=min(1, cluster.gpus_per_node)
    )
    return submit_arrays(one_rank, base, code, "evaluate", "evaluate", files, EvaluateJob)
