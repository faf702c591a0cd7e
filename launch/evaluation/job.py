"""Jobs that evaluate checkpoints: a given list of them, or whatever appears."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from launch.cluster.records import read_record
from launch.evaluation.evaluator import Evaluator, Target, Work
from launch.jobs.deciding import request_restart
from launch.jobs.places import in_slurm, slurm_place
from launch.jobs.rank_process import StopNote
from orbit.core.config.schema import build
from orbit.core.files.atomic import write_json
from orbit.core.files.waiting import StoppedWaiting, trying_again
from orbit.core.printing import say


def write_task(path: Path, work: Work, targets: list[Target] | None) -> None:
    """What a job does: these checkpoints, or with None whatever appears."""
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
    """Does the task in a file; goes on where it was after a preemption or a time-out."""

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
    """A worker on this machine: does all tasks of a record, sharing them with others by claims."""

    def __init__(self, record: str) -> None:
        self.record = record

    def __call__(self) -> int:
        """Returns the number of checkpoints that could not be evaluated."""
        stop = StopNote()
        stop.install()
        tasks = read_record(Path(self.record)).tasks
        return sum(run_task(Path(task), stop) for task in tasks if stop.signal is None)
