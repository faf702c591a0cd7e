"""Child processes: the steps of a run one after another, several runs at a time."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from launch.reproduction.plan import Step
from launch.reproduction.settings import REPOSITORY
from orbit.core.config.program import EXIT_FINISHED, EXIT_STOPPED
from orbit.core.files.atomic import write_json
from orbit.core.signals import heeded_stop_signals

POLL_S = 0.1
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
GRACE_S = 180.0
"""Seconds that a child has to save its state before it is killed."""


@dataclass(frozen=True)
class Ending:
    """How a run's steps ended: at its last step, or at the first that did not end with 0.

    `seconds` per step, over all calls of this command.
    """

    name: str
    step: str
    exit_code: int
    message: str
    seconds: Mapping[str, float]


class StopNote:
    """Holds the first stop signal; None until one arrives."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def remember(self, number: int, frame: FrameType | None) -> None:
        """A signal handler."""
        if self.signal is None:
            self.signal = signal.Signals(number)


@contextmanager
def noting_stop_signals() -> Iterator[StopNote]:
    """Record stop signals inside the block instead of ending the process."""
    note = StopNote()
    if threading.current_thread() is not threading.main_thread():
        yield note
        return
    before = {number: signal.signal(number, note.remember) for number in heeded_stop_signals()}
    try:
        yield note
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Chain:
    """The steps of one run, one process after another, with output in one file."""

    def __init__(self, name: str, steps: Sequence[Step], log: Path) -> None:
        self.name, self._log = name, log
        self._left = list(steps)
        self._notes = log.with_suffix(".json")
        names = {step.name for step in steps}
        earlier = _read_seconds(self._notes)
        self._seconds = {name: took for name, took in earlier.items() if name in names}
        self._step: Step | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._kill_at = 0.0
        self._log_from = 0
        self._is_stopping = False

    def poll(self) -> Ending | None:
        """Start the next step if the last one has ended; returns the ending once the run has
        ended."""
        if self._process is not None and self._step is not None:
            code = self._process.poll()
            if code is None:
                if self._is_stopping and time.monotonic() > self._kill_at:
                    _signal_group(self._process, signal.SIGKILL)
                return None
            self._note_seconds(self._step.name)
            self._process = None
            if code != EXIT_FINISHED:
                return self._ending(self._step, code)
            if self._is_stopping and self._left:
                return self._ending(self._step, EXIT_STOPPED)
        while self._left:
            self._step = self._left.pop(0)
            if self._step.product is None or not self._step.product.exists():
                self._start(self._step)
                return None
        assert self._step is not None, "a run has at least one step"
        return self._ending(self._step, EXIT_FINISHED)

    def stop(self) -> None:
        """Ask the running program to save its state and end; it is killed if it does not."""
        if self._is_stopping:
            return
        self._is_stopping = True
        self._kill_at = time.monotonic() + GRACE_S
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the running program without asking."""
        if self._process is not None and self._process.poll() is None:
            _signal_group(self._process, signal.SIGKILL)
            self._process.wait()

    def _start(self, step: Step) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1"), "PYTHONUNBUFFERED": "1"}
        paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        with open(self._log, "ab") as log:
            log.write(f"$ {' '.join(step.command)}\n".encode())
            log.flush()
            self._log_from = log.tell()
            self._started = time.monotonic()
            # A session of its own: Ctrl-C reaches only this program, which then asks its children
            # to stop.
            self._process = subprocess.Popen(
                step.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _note_seconds(self, step: str) -> None:
        # Training continues where it stopped; other steps start again.
        before = self._seconds.get(step, 0.0) if step == "train" else 0.0
        self._seconds[step] = round(before + time.monotonic() - self._started, 1)
        write_json(self._notes, self._seconds)

    def _ending(self, step: Step, code: int) -> Ending:
        message = "" if code == EXIT_FINISHED else last_line(self._log, self._log_from)
        if code < 0:
            message = f"ended by signal {-code} ({signal.strsignal(-code)})"
        return Ending(self.name, step.name, code, message, dict(self._seconds))


def run_chains(
    chains: Sequence[Chain],
    num_parallel: int,
    stop: StopNote,
    on_end: Callable[[Ending], None],
) -> None:
    """Run all chains, at most `num_parallel` at a time; after a stop signal, end those that run.

    `on_end` is called for every started chain when it ends.
    """
    waiting, running = list(chains), list[Chain]()
    try:
        while running or (waiting and stop.signal is None):
            if stop.signal is not None:
                for chain in running:
                    chain.stop()
            while waiting and len(running) < num_parallel and stop.signal is None:
                running.append(waiting.pop(0))
            for chain in list(running):
                ending = chain.poll()
                if ending is not None:
                    running.remove(chain)
                    on_end(ending)
            time.sleep(POLL_S if running else 0)
    finally:
        for chain in running:
            chain.kill()


def last_line(log: Path, start: int = 0) -> str:
    """The last line that is not empty, from byte `start` on, without the name of a program."""
    with open(log, "rb") as file:
        file.seek(max(start, log.stat().st_size - 4096))
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    said = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
    program, separator, rest = said.partition(".py: ")
    return rest if separator and program.isidentifier() else said


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def _read_seconds(path: Path) -> dict[str, float]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): float(value) for key, value in content.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
