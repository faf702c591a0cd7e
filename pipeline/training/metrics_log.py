"""metrics.jsonl, and the means of loss terms since its last line, without a sync in between.

One JSON object per line, keyed by step. Before a run continues from a checkpoint, lines of later
steps are removed, so that nothing is logged twice. Keys under `speed/`, `memory/` and `time/`
depend on the clock; all others are reproducible.

Lines go to a tracker through a thread and a bounded queue, so that it can neither stop nor slow the
trainer. Those that did not fit into the queue, or were logged while the tracker could not be
reached, are read from metrics.jsonl, which holds every line. So no line is missing and none is sent
twice.
"""

import contextlib
import json
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from orbit.core.files.atomic import write_text
from orbit.core.printing import say
from pipeline.loggers import (
    TENSORBOARD,
    Line,
    Start,
    Tracker,
    as_line,
    open_events,
    tracker_opener,
    write_settings,
)
from pipeline.run_files.reading import read_metrics
from pipeline.training.distributed import World

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


NEVER = 2**62


class NonFiniteLossError(Exception):
    """A loss, a validation or a weight was NaN or infinite; the message says which and when."""


class IntervalMeans:
    """Sums of per-step terms on the device, with the first step in which each was not finite.

    `state` and `load_state` save it in a checkpoint, with one row for each rank.
    """

    def __init__(self, names: Sequence[str], world: World) -> None:
        self.names, self._world = tuple(names), world
        device = world.device
        self._sums = torch.zeros(len(self.names), dtype=torch.float64, device=device)
        self._first_bad = torch.full((len(self.names),), NEVER, dtype=torch.int64, device=device)
        self.count = 0

    def add(self, terms: torch.Tensor, step: int) -> None:
        """Add a step's terms (K,); `step` counts finished steps."""
        self._sums += terms
        bad = torch.where(terms.isfinite(), NEVER, step)
        self._first_bad = torch.minimum(self._first_bad, bad)
        self.count += 1

    def check_finite(self) -> None:
        """Raise NonFiniteLossError, on all ranks alike, if any term of any rank was not finite."""
        first_bad = self._world.all_gather(self._first_bad.cpu()).amin(0)
        if first_bad.min() == NEVER:
            return
        step = int(first_bad.min())
        guilty = [
            name for name, bad in zip(self.names, first_bad.tolist(), strict=True) if bad == step
        ]
        # The total follows from the other terms: name it only if it is the only one.
        causes = [name for name in guilty if name != "loss/total"] or guilty
        raise NonFiniteLossError(f"{', '.join(causes)} is not finite in step {step}")

    def means(self) -> dict[str, float]:
        """Mean of each term over the interval and the ranks."""
        total = self._world.all_reduce_sum(self._sums)
        values = (total / max(1, self.count * self._world.world_size)).tolist()
        return dict(zip(self.names, values, strict=True))

    def reset(self) -> None:
        """Start a new interval."""
        self._sums.zero_()
        self.count = 0

    def state(self) -> dict[str, torch.Tensor]:
        """The sums of all ranks (W, K) and their number of steps."""
        return {
            "sums": self._world.all_gather(self._sums.cpu()),
            "count": torch.tensor(self.count),
        }

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Restore this rank's sums; with another world size, every rank gets their mean."""
        sums = state["sums"]
        same_ranks = len(sums) == self._world.world_size
        self._sums.copy_(sums[self._world.rank] if same_ranks else sums.mean(0))
        self.count = int(state["count"])


class MetricsLog:
    """Appends lines after those up to `first_step`; a context manager.

    The named `loggers` get every line too, and at the start `settings`, the keys of the
    configuration, and `attempt`. The caller sets `is_finished` when no more lines will ever come.
    """

    def __init__(
        self,
        run_dir: Path,
        first_step: int,
        loggers: Sequence[str] = (TENSORBOARD,),
        settings: Mapping[str, Any] | None = None,
        attempt: int = 0,
    ) -> None:
        path = self._path = run_dir / "metrics.jsonl"
        kept = [line for line in read_metrics(path) if line["step"] <= first_step]
        write_text(path, "".join(_as_line(line) for line in kept))
        self.latest: dict[str, float] = {}
        """Values of the newest training line of this process."""
        self._file = open(path, "a", encoding="utf-8")
        self._first_step, self._settings = first_step, dict(settings or {})
        self._writer: Any = None
        self._has_events = TENSORBOARD in loggers
        self.is_finished = False
        start = Start(run_dir, self._settings, attempt)
        self._loggers = [
            BackgroundLogger(name, partial(tracker_opener(name), start), path)
            for name in loggers
            if name != TENSORBOARD
        ]

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *error: object) -> None:
        # `sync` has flushed everything important; the cause of the end must not be hidden.
        with contextlib.suppress(OSError):
            self._file.close()
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
        if not self.is_finished:
            self.close_loggers()

    def close_loggers(self) -> None:
        """Wait for what they still have to send; of a finished run after its result is written."""
        loggers, self._loggers = self._loggers, []
        close_all(loggers, self.is_finished)

    def write(self, step: int, epoch: int, split: str, values: dict[str, float]) -> None:
        """Append a line; `epoch` counts finished epochs. NaN and infinity become text."""
        line = {"step": step, "epoch": epoch, "split": split, **values}
        with _naming(self._path):
            self._file.write(_as_line(line))
            self._file.flush()
        for logger in self._loggers:
            logger.put(as_line(line))
        if split == "train":
            self.latest = values
        if not self._has_events:
            return
        with _naming(self._path.with_name("events.out.tfevents")):
            for name, value in values.items():
                self._events.add_scalar(f"{split}/{name}", value, step)

    @property
    def _events(self) -> Any:
        """TensorBoard's writer, made with the first line because its library is slow to import."""
        if self._writer is None:
            self._writer = open_events(self._path.parent, purge_step=self._first_step + 1)
            if self._settings:
                write_settings(self._writer, self._settings)
        return self._writer

    def sync(self) -> None:
        """Flush everything written so far to disk; called before each checkpoint."""
        with _naming(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
        if self._writer is not None:
            with _naming(self._path.with_name("events.out.tfevents")):
                self._writer.flush()


def send_rest(
    run_dir: Path, loggers: Sequence[str], settings: Mapping[str, Any], attempt: int
) -> None:
    """Give the loggers of a finished run what they lack, where they did not take it in time."""
    start = Start(run_dir, settings, attempt)
    opened = [
        BackgroundLogger(name, partial(tracker_opener(name), start), run_dir / "metrics.jsonl")
        for name in loggers
        if start.is_owed(name)
    ]
    close_all(opened, is_finished=True)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Add the file's name to errors of writing, which do not have it once the file is open."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _as_line(line: dict[str, Any]) -> str:
    plain = {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in line.items()
    }
    return json.dumps(plain, ensure_ascii=False) + "\n"
