"""A training process of one rank, and its watcher.

The watcher is small and outlives the trainer: it records how the process ended, even if it was
killed, and passes signals on.
"""

import collections
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from launch.jobs.history import Ending, classify
from launch.jobs.places import Place
from orbit.core.signals import heeded_stop_signals

NUM_KEPT_LINES = 60


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
    """Starts `command` as rank `place`; its standard error is passed on, and its end is kept."""

    def __init__(
        self,
        command: list[str],
        place: Place,
        code: Path,
        rendezvous: Path,
        join_timeout_s: float,
        log: Path | None = None,
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
        self._out = open(log, "a") if log is not None else None
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._lines: collections.deque[str] = collections.deque(maxlen=NUM_KEPT_LINES)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

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
        """How it ended; call this after `poll` has returned a code."""
        self._reader.join(timeout=5)
        if self._out is not None:
            self._out.close()
        code = self._process.wait()
        kind, message = classify(code, list(self._lines), was_told_to_stop)
        return Ending(kind, message, self.place.rank, self.place.host, code)

    def _read(self) -> None:
        assert self._process.stderr is not None
        target = self._out or sys.stderr
        for line in self._process.stderr:
            self._lines.append(line)
            target.write(line)
            target.flush()
