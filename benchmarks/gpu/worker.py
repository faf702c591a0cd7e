"""A process that does one job after another, and that may hang or die without harm to the rest.

From a job to what does it, nothing slow is imported before it is needed.
"""

import contextlib
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import say

from gpu.plan import DRY_SIZES, SIZES, Job, Outcome, Sizes

if TYPE_CHECKING:
    from gpu.found import Found


def perform(job: Job, folder: Path, device: str) -> Outcome:
    """Do a job on `cuda` or, for a dry run, on `cpu`; its files lie in `folder`."""
    started = time.monotonic()
    refusal = not_on(job, device)
    if refusal:
        return Outcome(job, "not run", note=refusal)
    sizes = SIZES if device == "cuda" else DRY_SIZES
    if job.kind == "tests":
        from gpu.suite import run_gpu_tests

        state, values, note = run_gpu_tests(folder, job.limit_s)
        return Outcome(job, state, time.monotonic() - started, values, note)
    if job.kind == "speed":
        from gpu.speed import measure_speed

        values, note = measure_speed(job, folder, device, sizes)
        return Outcome(job, "measured", time.monotonic() - started, values, note)
    if job.kind == "data":
        from gpu.found import make_data

        assert job.workload is not None
        make_data(job.workload, folder)
        return Outcome(job, "passed", time.monotonic() - started)
    found = _check_of(job)(job, folder, device, sizes)
    state = "passed" if found.is_met else "failed"
    return Outcome(job, state, time.monotonic() - started, found.values, found.note)


def _check_of(job: Job) -> Callable[[Job, Path, str, Sizes], "Found"]:
    from gpu import running, values

    checks = {
        "values": values.check_values,
        "compiled": values.check_compiled,
        "scaling": values.check_scaling,
        "resume": running.check_resume,
        "loading": running.check_loading,
    }
    return checks[job.kind]


def not_on(job: Job, device: str) -> str:
    """Why a device cannot do a job; empty if it can."""
    if job.precision == "tf32":
        import torch

        from pipeline.training.lifecycle import check_precision

        try:
            check_precision("tf32", torch.device(device))
        except ValueError as error:
            return str(error)
    if job.compile == "cuda_graphs" and device == "cpu":
        return "CUDA graphs need a GPU"
    return ""


END_S = 5.0

Perform = Callable[[Job, Path, str], Outcome]
"""Does a job: (job, folder of its files, device)."""


class Worker:
    """Sends jobs to a child process and starts another where that one is lost.

    A job that raises what cannot be foreseen ends its process too: a GPU that has failed once
    fails in every call of the same process. `environment` is set in the child before anything
    is imported there. The child's prints go to a file, whose last line explains a death.
    """

    def __init__(
        self, perform: Perform, folder: Path, device: str, environment: dict[str, str]
    ) -> None:
        self._arguments = (perform, folder, device, environment)
        self._process: Any = None
        self._connection: Connection | None = None
        self._log = Path(tempfile.mkstemp(dir=folder, suffix=".log")[1])

    def __call__(self, job: Job, limit_s: float) -> Outcome:
        """The job's outcome; a failed one if there is none after `limit_s` seconds."""
        say(job.name)
        started = time.monotonic()
        problem = f"not done after {limit_s:.0f} s"
        try:
            connection = self._connection or self._start()
            connection.send(job)
            if connection.poll(limit_s):
                outcome: Outcome
                outcome, is_usable = connection.recv()
                if not is_usable:
                    self.close()
                return outcome
        except (EOFError, OSError):
            problem = f"its process ended without a result: {self._last_line()}"
        self.close(patience_s=0)
        return Outcome(job, "failed", time.monotonic() - started, note=problem)

    def close(self, patience_s: float = END_S) -> None:
        """Let the process end, and end it with all that it has started if it does not."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.join(patience_s)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
            self._process.join(END_S)
        self._process = self._connection = None

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._log, *self._arguments))
        self._process.start()
        theirs.close()
        return self._connection

    def _last_line(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "no word of why"


def _serve(
    connection: Connection,
    log: Path,
    perform: Perform,
    folder: Path,
    device: str,
    environment: dict[str, str],
) -> None:
    os.setsid()
    os.environ.update(environment)
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(file, standard)
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        answer = _outcome_of(job, perform, folder, device)
        connection.send(answer)
        if not answer[1]:
            return


def _outcome_of(job: Job, perform: Perform, folder: Path, device: str) -> tuple[Outcome, bool]:
    """A job's outcome, and whether this process can do another."""
    started = time.monotonic()

    def ended(state: Any, error: BaseException) -> Outcome:
        line = " ".join(str(error).split())[:300] or type(error).__name__
        return Outcome(job, state, time.monotonic() - started, note=line)

    try:
        return perform(job, folder, device), True
    except ImportError as error:
        return ended("not run", error), True
    except Exception as error:
        is_memory = type(error).__name__ == "OutOfMemoryError"
        return ended("not run" if is_memory else "failed", error), False
