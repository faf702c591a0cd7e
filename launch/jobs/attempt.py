"""One attempt of a run in a job: starting, watching and stopping ranks; pruning runs.

The watcher of each rank records how its process ended; then one of them (the first rank after a
stop, the fastest survivor after a fault) decides whether the run continues.

A watcher is light and outlives whatever happens to the trainer: it notes how the process ended even
when that was killed, keeps what it said, and passes signals on.
"""

import collections
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from launch.cluster.slurm import Place
from launch.jobs import history
from launch.jobs.deciding import (
    ERROR_FILE,
    Decision,
    Order,
    after_fault,
    after_stop,
    conclude,
    vanished_too_often,
)
from launch.jobs.history import Ending, classify, decisive, reason_of_stop
from launch.snapshot import check_snapshot
from launch.staging import stage_dataset
from orbit.core.config.program import (
    EXIT_CLUSTER_FAULT,
    EXIT_STOPPED,
    EXIT_USER_ERROR,
    describe_error,
)
from orbit.core.files.atomic import write_json
from orbit.core.files.waiting import StoppedWaiting, is_hiccup
from orbit.core.printing import say
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


PRUNED_FILE = "pruned.json"


def is_pruned(run_dir: Path) -> bool:
    """Whether the run was pruned: it must stop, and not start again."""
    return (run_dir / PRUNED_FILE).exists()


def mark_pruned(run_dir: Path, reason: str) -> None:
    """Prune a run for good; the first reason is kept."""
    if run_dir.is_dir() and not is_pruned(run_dir):
        write_json(run_dir / PRUNED_FILE, {"reason": reason, "time": time.time()})


POLL_S = 0.2
PRUNED_POLL_S = 2.0
PEER_PATIENCE_S = 30.0
"""How long ranks of this process may outlive one that failed."""


def run_attempt(
    run_dir: Path,
    order: Order,
    places: Sequence[Place],
    stop: StopNote,
    who_stopped: Callable[[], str | None] = lambda: None,
) -> Decision | None:
    """Run the ranks at `places` to their end.

    Returns the decision if this process has to carry it out, else None. A pruned run does not
    start, and one that is pruned meanwhile is told to stop.
    """
    started = time.time()
    first = places[0]
    if is_pruned(run_dir):
        return Decision("pruned", False) if first.rank == 0 else None
    folder = history.begin(run_dir, first, order.submission, started, order.digest or "")
    if first.rank == 0:
        # Remove the error of an earlier attempt.
        (run_dir / ERROR_FILE).unlink(missing_ok=True)
        given_up = vanished_too_often(run_dir, order, folder)
        if given_up is not None:
            return conclude(run_dir, folder, "gave_up", given_up, None)
    say(
        f"attempt {first.attempt}: rank {first.rank} of {first.world_size} on {first.host},"
        f" code {order.code} ({(order.digest or 'unchecked')[:12]})",
    )

    def told_to_stop() -> None:
        if first.rank == 0 and stop.signal is not None:
            reason = _reason_of_stop(order, stop, started)
            history.note_signal(folder, reason, time.time(), stop.signal.name)
            # While the ranks save: whoever cancels a job kills it soon.
            ask = threading.Thread(
                target=lambda: history.note_who_stopped(folder, who_stopped()), daemon=True
            )
            ask.start()

    def stopped(ending: Ending) -> Decision | None:
        if first.rank != 0 or history.reason_of(folder) is not None:
            return None  # The rank that decided had the job put back, which stops the others.
        if is_pruned(run_dir):
            history.end(folder, "pruned", time.time(), ending.message)
            return Decision("pruned", False)
        reason = _reason_of_stop(order, stop, started)
        return after_stop(run_dir, order, folder, reason, ending)

    try:
        command = _command(run_dir, order, first, lambda: stop.signal is not None)
    except StoppedWaiting as error:
        told_to_stop()
        return stopped(Ending("stopped", str(error), first.rank, first.host, EXIT_STOPPED))
    except (ValueError, OSError) as error:
        history.note_ending(folder, _ending_before_start(error, first))
        return after_fault(run_dir, order, folder)
    ranks = [
        RankProcess(
            command,
            place,
            Path(order.code),
            folder / "rendezvous.json",
            order.join_timeout_s,
            folder / history.log_name(place.rank),
        )
        for place in places
    ]

    patience_s = max(10.0, 0.8 * order.signal_before_s)
    endings = _watch(ranks, stop, told_to_stop, patience_s, lambda: is_pruned(run_dir))
    worst = decisive(endings)
    if worst.kind == "finished":
        if first.rank == 0:
            history.end(folder, "finished", time.time())
        return Decision("finished", False) if first.rank == 0 else None
    if worst.kind == "stopped":
        return stopped(worst)
    for ending in endings:
        if ending.kind != "finished":
            history.note_ending(folder, ending)
    return after_fault(run_dir, order, folder)


def _ending_before_start(error: ValueError | OSError, place: Place) -> Ending:
    """The ending of an attempt that could not start its ranks."""
    if is_hiccup(error):
        message = describe_error(error)
        return Ending("cluster_fault", message, place.rank, place.host, EXIT_CLUSTER_FAULT)
    return Ending("mistake", str(error), place.rank, place.host, EXIT_USER_ERROR)


def _command(
    run_dir: Path, order: Order, place: Place, should_stop: Callable[[], bool]
) -> list[str]:
    code = Path(order.code)
    if order.digest is not None and place.local_rank == 0:
        check_snapshot(code, order.digest)
    program = [sys.executable, str(code / "pipeline" / "train.py")]
    overrides = [f"config={run_dir / 'config.yaml'}", f"run_dir={run_dir}"]
    if order.stage is not None:
        copy = stage_dataset(Path(order.data), Path(order.stage), should_stop=should_stop)
        overrides.append(f"data_copy={copy}")
    return [*program, *overrides]


def _watch(
    ranks: list[RankProcess],
    stop: StopNote,
    on_stop: Callable[[], None],
    patience_s: float,
    is_given_up: Callable[[], bool],
) -> list[Ending]:
    """Wait for all ranks of this process; pass stop signals on, and stop them if the run is pruned.

    Ranks that outlive a failed one for too long, or have not saved within `patience_s` after they
    were told to, are killed.
    """
    was_passed_on = False
    failed_at: float | None = None
    asked_at = time.monotonic()
    while any(rank.poll() is None for rank in ranks):
        if time.monotonic() - asked_at > PRUNED_POLL_S and stop.signal is None:
            asked_at = time.monotonic()
            if is_given_up():
                stop = StopNote(signal.SIGTERM)
        if stop.signal is not None and not was_passed_on:
            was_passed_on = True
            for rank in ranks:
                rank.send(stop.signal)
            on_stop()
        if stop.time is not None and time.time() - stop.time > patience_s:
            for rank in ranks:
                rank.kill()
        if failed_at is None and any(rank.poll() not in (None, 0) for rank in ranks):
            failed_at = time.monotonic()
        if failed_at is not None and time.monotonic() - failed_at > PEER_PATIENCE_S:
            for rank in ranks:
                rank.kill()
        time.sleep(POLL_S)
    return [rank.ending(stop.signal is not None) for rank in ranks]


def _reason_of_stop(order: Order, stop: StopNote, started: float) -> str:
    elapsed = (stop.time or time.time()) - _job_start(started)
    return reason_of_stop(elapsed, order.time_limit_s, order.signal_before_s)


def _job_start(otherwise: float) -> float:
    """When the scheduler started this job, in seconds since the epoch."""
    text = os.environ.get("SLURM_JOB_START_TIME", "")
    return float(text) if text.isdigit() else otherwise
