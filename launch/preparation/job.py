"""The jobs of a preparation, as submitit calls them: a task in SLURM, a worker on this machine."""

import os
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from launch.cluster.slurm import slurm_place
from launch.cluster.submission import read_record
from launch.jobs.attempt import StopNote
from launch.jobs.deciding import request_restart
from launch.jobs.history import reason_of_stop
from launch.jobs.train_job import claim, claims_folder
from launch.preparation.directory import MANIFEST_TASK, PrepareOrder, note_failure, read_order
from orbit.core.config.program import describe_error
from orbit.core.files.waiting import trying_again
from orbit.core.printing import say

if TYPE_CHECKING:
    from launch.preparation.work import Preparation


class Stopped(BaseException):
    """A stop signal arrived; raised at any point of the work."""


class Interruption(StopNote):
    """Ends work at the first stop signal. Code that catches an error must check `signal` first,
    because a library may have turned `Stopped` into an error of its own."""

    is_at_work = True

    def _remember(self, number: int, frame: FrameType | None) -> None:
        is_first = self.signal is None
        super()._remember(number, frame)
        if is_first and self.is_at_work:
            raise Stopped


class PrepareJob:
    """One task of a submission in SLURM. Everything except its name is read from `folder`."""

    def __init__(self, folder: str, task: str) -> None:
        self.folder, self.task = folder, task

    def __call__(self) -> int:
        """Returns the number of files written; exits with 1 if the task failed or will continue
        later."""
        started = time.time()
        stop = Interruption()
        num_written = 0

        def work() -> None:
            from launch.preparation.work import Preparation

            nonlocal num_written
            for file in Preparation(Path(self.folder)).do(self.task):
                num_written += 1
                say(file)

        try:
            stop.install()
            trying_again(work, self.task)
            stop.is_at_work = False
        except BaseException as error:
            stop.is_at_work = False
            if stop.time is not None:
                self._go_on_later(started, stop.time, num_written)
            fail(Path(self.folder), self.task, error)
            if not isinstance(error, ValueError | OSError):
                raise
            sys.exit(1)
        return num_written

    def _go_on_later(self, started: float, stopped: float, num_written: int) -> None:
        """Request a requeue, which keeps finished shards; exits with 1 in any case."""
        order = read_order(Path(self.folder))
        place = slurm_place(os.environ)
        start = os.environ.get("SLURM_JOB_START_TIME", "")
        elapsed_s = stopped - (float(start) if start.isdigit() else started)
        reason = reason_of_stop(elapsed_s, order.time_limit_s, order.signal_before_s)
        why_not = refusal(reason, num_written, place.restart, order)
        if why_not is not None:
            fail(Path(self.folder), self.task, ValueError(why_not))
        else:
            request_restart(place.job, reason)
        # Never 0: the manifest waits for the success of every task.
        sys.exit(1)


class PrepareWorker:
    """Carries out the tasks of a job record; the worker that sees all shards finished writes the
    manifest."""

    def __init__(self, record: str, folder: str) -> None:
        self.record, self.folder = record, folder

    def __call__(self) -> int:
        """Returns the number of tasks that this worker took."""
        stop = Interruption()
        num_taken = 0
        try:
            stop.install()
            from launch.preparation.work import Preparation

            preparation = trying_again(lambda: Preparation(Path(self.folder)), "the preparation")
            tasks = trying_again(lambda: read_record(Path(self.record)).tasks, "the tasks")
            for task in (task for task in tasks if task != MANIFEST_TASK):
                num_taken += self._take(preparation, task, stop)
            if preparation.are_shards_finished():
                num_taken += self._take(preparation, MANIFEST_TASK, stop)
            stop.is_at_work = False
        except BaseException as error:
            stop.is_at_work = False
            if stop.signal is not None:
                say(f"told to stop by {stop.signal.name}")
                return num_taken
            fail(Path(self.folder), f"worker-{os.getpid()}", error)
            raise
        return num_taken

    def _take(self, preparation: "Preparation", task: str, stop: Interruption) -> bool:
        """Carry out a task unless another worker has; a failure is recorded and the others
        continue."""
        if not claim(claims_folder(Path(self.record)) / task):
            return False

        def work() -> None:
            for file in preparation.do(task):
                say(file)

        try:
            trying_again(work, task)
        except (ValueError, OSError) as error:
            if stop.signal is not None:
                raise
            fail(Path(self.folder), task, error)
        return True


def fail(folder: Path, task: str, error: BaseException) -> None:
    """Record why a task failed, and print it to the log."""
    message = describe_error(error)
    if not isinstance(error, ValueError | OSError):
        message = f"{type(error).__name__}: {message}"
    say(f"{task}: {message}", error=True)
    note_failure(folder, task, message)


def refusal(reason: str, num_written: int, restart: int, order: PrepareOrder) -> str | None:
    """Why a task that was told to stop may not start again; None if it may."""
    if reason == "timeout" and not num_written:
        return (
            "no shard was finished within the time limit: give more by cluster.time,"
            " or make shards smaller by dataset.shard_mib"
        )
    if restart >= order.max_restarts:
        limit = order.max_restarts
        return f"gave up after {limit} restarts (cluster.retry.max_preemptions={limit})"
    return None
