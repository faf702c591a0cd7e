"""Making shards in several processes, and in several jobs that share a folder.

Many jobs may share a directory. Each keeps a note there while it runs, so that a preparation by one
process does not remove their half-written files.
"""

import errno
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from orbit.core.files.listing import list_folder
from orbit.core.files.lock import DirectoryLock

Item = TypeVar("Item")
NO_ROOM = (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.ENOENT, errno.EROFS, errno.ENOSYS)


def make_all(
    make: Callable[[Item], None],
    items: Sequence[Item],
    num_workers: int,
    on_made: Callable[[Item], None],
) -> None:
    """Call `make` for every item, in up to `num_workers` processes, and `on_made` after each.

    The first exception ends it. Raises ValueError with the cause if the processes cannot be started
    or one of them is killed.
    """
    if num_workers == 1 or len(items) <= 1:
        for item in items:
            make(item)
            on_made(item)
        return
    others = multiprocessing.active_children()
    with _start_pool(min(num_workers, len(items)), make) as pool:
        futures = {pool.submit(_make, item): item for item in items}
        workers = [each for each in multiprocessing.active_children() if each not in others]
        try:
            for future in as_completed(futures):
                future.result()
                on_made(futures[future])
        except BrokenProcessPool:
            pool.shutdown(cancel_futures=True)  # afterwards the exit of every worker is known
            raise ValueError(f"{_how_one_ended(workers)}: run again") from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start_pool(num_workers: int, make: Callable[[Any], None]) -> ProcessPoolExecutor:
    """Start the pool; each worker receives `make` once, because a recipe may hold a million names
    of files."""
    try:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(num_workers, context, _begin, (make,))
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise ValueError(
            f"num_workers={num_workers}: worker processes need room in /dev/shm"
            f" ({os.strerror(error.errno or 0)}): make it larger, or set num_workers=1"
        ) from None


def _how_one_ended(workers: Sequence[BaseProcess]) -> str:
    """The exit of the worker that broke the pool; the other workers were then stopped."""
    codes = [worker.exitcode for worker in workers if worker.exitcode]
    own = [code for code in codes if code != -signal.SIGTERM] or codes
    if not own:
        return "a worker process ended before its work was done"
    if own[0] > 0:
        return f"a worker process ended with exit code {own[0]}"
    name = signal.Signals(-own[0]).name
    why = " (out of memory? set a smaller num_workers)" if name == "SIGKILL" else ""
    return f"a worker process was killed by {name}{why}"


_WORK: list[Callable[[Any], None]] = []
"""The function that this worker process calls for each item."""


def _begin(make: Callable[[Any], None]) -> None:
    _end_with_parent()
    _WORK.append(make)


def _make(item: Any) -> None:
    _WORK[0](item)


def _end_with_parent() -> None:
    """End this worker when its parent is gone: a killed build leaves no processes behind."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


NOTE = ".writer-"


@contextmanager
def announced(out: Path) -> Iterator[None]:
    """Leave a note in `out` that this process writes shards there."""
    with DirectoryLock(out, "preparations", file=f"{NOTE}{uuid.uuid4().hex[:12]}"):
        yield


def refuse_living_writers(out: Path) -> None:
    """Raise ValueError if a job writes shards of `out`; notes of dead jobs are removed.

    If the owner of a note is not visible from here, this waits, and says so, until the owner is
    known to be alive or dead.
    """
    for note in list_folder(out, f"{NOTE}*"):
        try:
            with DirectoryLock(out, "preparations", file=note.name):
                pass
        except ValueError as error:
            raise ValueError(
                f"{error}; it is a job of launch/prepare.py: wait, or end it"
            ) from None
