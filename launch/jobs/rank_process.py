"""A training process of one rank, and its watcher.

The watcher is light and outlives whatever happens to the trainer: it notes how the
process ended even when that was killed, keeps what it said, and passes signals on.
"""

import collections
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import IO

from launch.cluster.slurm import Place
from launch.jobs.history import Ending, classify
from orbit.core.signals import heeded_stop_signals

NUM_KEPT_LINES = 60
NUM_LAST_LINES = 8
"""Of what a rank said last, so much is noted with its end."""


class StopNote:
    """Remembers the first stop signal; installed after other handlers, which it replaces."""

    def __init__(self, given: signal.Signals | None = None) -> None:
        self.signal = given
        self.time: float | None = None if given is None else time.time()

    def install(self) -> None:
        """Only record stop signals from now on; CONT is ignored."""
        for number in heeded_stop_signals():
            signal.signal(number, self._remember)
        signal.signal(signal.SIGCONT, signal.SIG_DFL)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.time = time.time()
            self.signal = signal.Signals(number)


class RankProcess:
    """Starts `command` as rank `place`; what it says goes on, and to the file `log` as well."""

    def __init__(
        self,
        command: list[str],
        place: Place,
        code: Path,
        rendezvous: Path,
        join_timeout_s: float,
        log: Path,
    ) -> None:
        self.place = place
        paths = [str(code), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "RANK": str(place.rank),
            "WORLD_SIZE": str(place.world_size),
            "LOCAL_RANK": str(place.local_rank),
            "MASTER_ADDR": place.first_host,
            "ORBIT_RENDEZVOUS": str(rendezvous),
            "ORBIT_JOIN_TIMEOUT_S": str(join_timeout_s),
        }
        self._log = open(log, "a", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._lines: collections.deque[str] = collections.deque(maxlen=NUM_KEPT_LINES)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        pipes = ((self._process.stdout, sys.stdout), (self._process.stderr, sys.stderr))
        self._readers = [
            threading.Thread(target=self._read, args=each, daemon=True) for each in pipes
        ]
        for reader in self._readers:
            reader.start()

    def poll(self) -> int | None:
        """Exit code, None while it runs."""
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it still exists."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def ending(self, was_told_to_stop: bool) -> Ending:
        """How it ended; call after `poll` gave a code."""
        for reader in self._readers:
            reader.join(timeout=5)
        self._log.close()
        code = self._process.wait()
        lines = list(self._lines)
        kind, message = classify(code, lines, was_told_to_stop)
        last = [line.rstrip() for line in lines if line.strip()][-NUM_LAST_LINES:]
        last = [] if kind in ("finished", "stopped") else last
        place = self.place
        return Ending(kind, message, place.rank, place.host, code, tuple(last), time.time())

    def _read(self, pipe: IO[str], target: IO[str]) -> None:
        """Pass lines on; a place that cannot be written any more stops nothing.

        A pipe that nobody reads would stop the rank itself as soon as it is full.
        """
        for line in pipe:
            if pipe is self._process.stderr:
                self._lines.append(line)
            for place in (target, self._log):
                with contextlib.suppress(OSError, ValueError):
                    place.write(line)
                    place.flush()
