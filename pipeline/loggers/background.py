"""Sending lines to a tracker through a thread and a bounded queue, so that it can neither stop nor
slow the trainer.

Lines that did not fit into the queue, or were logged while the tracker could not be reached, are
read from metrics.jsonl, which holds every line. So no line is missing and none is sent twice.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from orbit.core.printing import say
from pipeline.loggers.interface import Line, Tracker, as_line
from pipeline.run_files.reading import read_metrics

MAX_WAITING = 256
"""The most lines that wait in memory."""
MAX_SENT = 64
"""The most lines that are sent at once."""
RETRY_S = 30.0
CLOSE_S, FINISH_S = 10.0, 60.0
"""The most seconds that training waits for all its loggers: after a stop, and after its result."""


class BackgroundLogger:
    """Sends lines to the tracker that `open_tracker` opens, in a separate thread.

    `log_file` is metrics.jsonl: each line is written there before `put` is called with it.
    """

    def __init__(
        self,
        name: str,
        open_tracker: Callable[[], Tracker],
        log_file: Path,
        retry_s: float | None = None,
    ) -> None:
        self.name = name
        self._open, self._log_file = open_tracker, log_file
        self._retry_s = RETRY_S if retry_s is None else retry_s
        self._queue: queue.Queue[Line | None] = queue.Queue(MAX_WAITING)
        self._is_behind = True
        self._is_warned = self._is_finished = self._is_done = self._is_given_up = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"logger {name}", daemon=True)
        self._thread.start()

    def put(self, line: Line) -> None:
        """Queue a line; returns at once."""
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            self._is_behind = True

    def close(self, is_finished: bool, seconds: float | None = None) -> None:
        """Stop, and wait a limited time until the remaining lines are sent."""
        close_all([self], is_finished, seconds)

    def stop(self, is_finished: bool) -> None:
        """No more lines will come; returns at once."""
        self._is_finished = is_finished
        self._stop.set()
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            pass  # The thread sees the stop after the lines in the queue.

    def wait(self, seconds: float) -> None:
        """Wait until all lines are sent, at most this many seconds; then no more are sent, because
        the log may soon be another attempt's."""
        self._thread.join(seconds)
        if not self._is_done:
            self._is_given_up = True
            self._warn("it did not accept all lines in time")

    def _work(self) -> None:
        while not self._is_done:
            try:
                self._follow(self._open())
                self._is_done = True
            except Exception as error:  # the tracker's library may raise anything
                self._warn(" ".join(str(error).split()) or type(error).__name__)
                self._is_behind = True
                if self._stop.wait(self._retry_s):
                    return

    def _follow(self, tracker: Tracker) -> None:
        """Send line after line until the trainer closes."""
        done = tracker.last()
        while True:
            if self._is_behind:
                # After the trainer has closed, no more lines come: the file is complete.
                self._is_behind, is_last = False, self._stop.is_set()
                lines = [as_line(each) for each in read_metrics(self._log_file)]
            else:
                lines, is_last = self._waiting()
            lines = [line for line in lines if done is None or line.position > done]
            for first in range(0, len(lines), MAX_SENT):
                part = lines[first : first + MAX_SENT]
                if self._is_given_up:
                    return
                tracker.send(part)
                done = part[-1].position
            if self._is_given_up:
                return
            if is_last and not self._is_behind:
                tracker.close(self._is_finished)
                return

    def _waiting(self) -> tuple[list[Line], bool]:
        """All lines of the queue, at least one, and whether the trainer has closed."""
        found = [self._queue.get()]
        while not self._queue.empty():
            found.append(self._queue.get_nowait())
        is_last = self._stop.is_set() and self._queue.empty()
        return [line for line in found if line is not None], is_last

    def _warn(self, why: str) -> None:
        """Print one warning only, because a run may train for weeks without its tracker."""
        if not self._is_warned:
            self._is_warned = True
            say(
                f"warning: logger {self.name}: {why[:300]}; training continues,"
                f" {self._log_file.name} holds every line, and missing lines are sent later",
                error=True,
            )


def close_all(
    loggers: Sequence[BackgroundLogger], is_finished: bool, seconds: float | None = None
) -> None:
    """Stop all, and wait for them together, for `seconds` or the limit above."""
    for logger in loggers:
        logger.stop(is_finished)
    allowed = (FINISH_S if is_finished else CLOSE_S) if seconds is None else seconds
    deadline = time.monotonic() + allowed
    for logger in loggers:
        logger.wait(max(0.0, deadline - time.monotonic()))
