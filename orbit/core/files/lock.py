"""One writer per directory, without flock (which network file systems may not honour).

The owner of a lock is a process on a host. The second part of this file identifies processes across
restarts, hosts and PID namespaces.

The lock is a file that names its owner's host, process and start time. The owner touches it every
few seconds. Another process may take it over if the owner is known to be dead (it would be visible
from here and does not exist), or if the file has not changed for `STALE_AFTER_S` seconds by the
other's own clock: clocks of other machines are never used. An owner that slept so long finds out by
`check_owned`.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from orbit.core.files.atomic import (
    TEMPORARY_SUFFIX,
    create_exclusively,
    temporary_beside,
    write_text,
)
from orbit.core.files.listing import list_folder
from orbit.core.files.waiting import wait_until


def describe_process(pid: int) -> dict[str, Any]:
    """Values that together identify a process of this host: no other process ever has the same."""
    return {
        "host": socket.gethostname(),
        "boot": _boot_id(),
        "pid_namespace": _pid_namespace(),
        "pid": pid,
        "process_start": _process_start(pid),
    }


def can_see(process: Mapping[str, Any]) -> bool:
    """Whether this process can tell if the described one runs.

    It cannot for a process of another machine, even one of the same name, nor of a container with
    its own process numbers.
    """
    boot = _boot_id()
    namespace = _pid_namespace()
    is_here = bool(boot) and process.get("boot") == boot
    return is_here and process.get("pid_namespace", namespace) == namespace


def is_running(process: Mapping[str, Any]) -> bool:
    """Whether a visible process still runs: same boot, same pid, same start time."""
    if not can_see(process):
        return False
    start = _process_start(int(str(process.get("pid", 0))))
    return start is not None and start == process.get("process_start")


def _boot_id() -> str:
    return (_text_of(Path("/proc/sys/kernel/random/boot_id")) or "").strip()


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _process_start(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot, None if it is gone or a zombie."""
    text = _text_of(Path(f"/proc/{pid}/stat"))
    if text is None:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else fields[19]


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None


STALE_AFTER_S = 60.0
TOUCH_EVERY_S = 5.0
LOOK_EVERY_S = 0.5


class LostLockError(ValueError):
    """Another process has taken the directory over; this one must write nothing more there."""


class Sight(NamedTuple):
    """The observed state of a lock: it keeps changing as long as the owner lives."""

    text: str
    inode: int
    modified_ns: int


class DirectoryLock:
    """Context manager that holds `directory/.lock`, or another file there.

    Raises ValueError on entry if a living process holds it. If the owner is not visible from here,
    it waits until the lock changes, or until the owner counts as dead; `should_stop` ends the wait
    with StoppedWaiting.
    """

    def __init__(
        self,
        directory: Path,
        purpose: str,
        file: str = ".lock",
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        self.path = directory / file
        self.purpose = purpose
        self._should_stop = should_stop
        self._owner = ""
        self._seen: Sight | None = None
        self._seen_at = 0.0
        self._is_alive = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "DirectoryLock":
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock; ValueError if a living process holds it."""
        wait_until(
            lambda: self.try_acquire() or self._is_alive,
            lambda: f"{self._holder()}, which may have ended, to release {self.path.parent}",
            poll_s=LOOK_EVERY_S,
            should_stop=self._should_stop,
        )
        if self._thread is None:
            raise ValueError(
                f"{self.path.parent} is in use by {self._holder()}:"
                f" two {self.purpose} cannot share a directory"
            )

    def try_acquire(self) -> bool:
        """Take the lock if it is free now; False if it is not.

        Remembers the observed state, so that repeated calls find out that an owner is dead.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        token = {**describe_process(os.getpid()), "token": uuid.uuid4().hex}
        self._owner = self._owner or json.dumps(token)
        self._is_alive = False
        if self._is_abandoned():
            self._remove_abandoned()
        if not create_exclusively(self.path, self._owner):
            return False
        self._sweep_drafts()
        self._stop.clear()
        self._thread = threading.Thread(target=self._keep_fresh, daemon=True)
        self._thread.start()
        return True

    def check_owned(self) -> None:
        """Raise LostLockError if another process has taken the directory over meanwhile."""
        if _read_text(self.path) != self._owner:
            raise LostLockError(
                f"{self.path.parent} was taken over by {self._holder()}, because this process"
                f" did not respond for more than {STALE_AFTER_S:.0f} s: it stops here"
            )

    def release(self) -> None:
        """Give the lock back."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        # If the file system fails now, the lock stays, but it counts as dead after this process
        # ends.
        with contextlib.suppress(OSError):
            if _read_text(self.path) == self._owner:
                self.path.unlink(missing_ok=True)

    def _is_abandoned(self) -> bool:
        """Whether there is a lock whose owner is known to be dead by now."""
        sight = _look(self.path)
        if sight is None:
            self._seen = None
            return False
        owner = _read_owner(sight.text)
        if owner is not None and can_see(owner):
            self._seen = sight
            self._is_alive = is_running(owner)
            return not self._is_alive
        if self._seen != sight:
            # The same owner with another time: it has touched the lock.
            self._is_alive = self._seen is not None and self._seen.text == sight.text
            self._seen, self._seen_at = sight, time.monotonic()
            return False
        return time.monotonic() - self._seen_at > STALE_AFTER_S

    def _remove_abandoned(self) -> None:
        assert self._seen is not None
        grave = temporary_beside(self.path)
        try:
            os.rename(self.path, grave)
        except FileNotFoundError:
            return
        taken = _read_text(grave)
        if taken is not None and taken != self._seen.text:
            # Another process took the lock between our check and our rename: give it back.
            create_exclusively(self.path, taken)
        grave.unlink(missing_ok=True)

    def _holder(self) -> str:
        try:
            text = _read_text(self.path)
        except OSError:
            text = None
        owner = _read_owner(text or "") or {}
        if "pid" not in owner:
            return "an unknown process"
        return f"process {owner['pid']} on {owner.get('host')}"

    def _keep_fresh(self) -> None:
        while not self._stop.wait(TOUCH_EVERY_S):
            # The file system may fail for a moment; the next touch may succeed.
            with contextlib.suppress(OSError):
                self._touch()

    def _touch(self) -> None:
        before = _look(self.path)
        if before is None or before.text != self._owner:
            return
        with contextlib.suppress(OSError):
            os.utime(self.path)
        if _look(self.path) == before:
            # Modification times are not kept on this file system: the content has to change.
            write_text(self.path, self._owner)

    def _sweep_drafts(self) -> None:
        """Remove drafts of processes that were killed while they took this lock, if possible."""
        pattern = f".{self.path.name}.*{TEMPORARY_SUFFIX}"
        with contextlib.suppress(OSError):
            for draft in list_folder(self.path.parent, pattern):
                draft.unlink(missing_ok=True)


def _look(path: Path) -> Sight | None:
    """The current state of a lock. It is opened because network file systems ask the server only
    then."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            status = os.fstat(file.fileno())
            return Sight(file.read(), status.st_ino, status.st_mtime_ns)
    except FileNotFoundError:
        return None


def _read_text(path: Path) -> str | None:
    sight = _look(path)
    return None if sight is None else sight.text


def _read_owner(text: str) -> dict[str, object] | None:
    try:
        owner = json.loads(text)
    except ValueError:
        return None
    return owner if isinstance(owner, dict) else None
