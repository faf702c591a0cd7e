"""One writer per directory, without flock (which network file systems may not honour).

The lock is a file that names its owner's host, process and start time. The owner
touches it every few seconds. It is free to take if its owner is known to be dead
(same host, no such process) or has not touched it for `STALE_AFTER_S` seconds.
"""

import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType

from pipeline.files.processes import describe_process, is_running

STALE_AFTER_S = 60.0
TOUCH_EVERY_S = 5.0


class DirectoryLock:
    """Context manager that holds `directory/.lock`, or another file there.

    Raises ValueError on entry if a living process holds it. `wait_s` is how long
    to wait for an owner on another host that may have died to become stale.
    """

    def __init__(
        self,
        directory: Path,
        purpose: str,
        wait_s: float = STALE_AFTER_S + 5,
        file: str = ".lock",
    ) -> None:
        self.path = directory / file
        self.purpose = purpose
        self.wait_s = wait_s
        self._owner = ""
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
        self.path.parent.mkdir(parents=True, exist_ok=True)
        owner = {
            **describe_process(os.getpid()),
            "job": _job_name(),
            "token": uuid.uuid4().hex,
        }
        self._owner = json.dumps(owner)
        deadline = time.monotonic() + self.wait_s
        while not self._try_take():
            other = _read_owner(self.path)
            if other is None or _is_abandoned(self.path, other):
                self._remove_abandoned(other)
            elif _is_elsewhere(other) and time.monotonic() < deadline:
                time.sleep(0.5)
            else:
                raise ValueError(
                    f"{self.path.parent} is in use by process {other.get('pid')} on"
                    f" {other.get('host')}: two {self.purpose} cannot share a directory"
                )
        self._thread = threading.Thread(target=self._keep_fresh, daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Give the lock back."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if _read_text(self.path) == self._owner:
            self.path.unlink(missing_ok=True)

    def _try_take(self) -> bool:
        draft = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}.tmp")
        draft.write_text(self._owner)
        try:
            os.link(draft, self.path)
            return True
        except FileExistsError:
            return False
        finally:
            draft.unlink()

    def _remove_abandoned(self, seen: dict[str, object] | None) -> None:
        grave = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}.tmp")
        try:
            os.rename(self.path, grave)
        except FileNotFoundError:
            return
        taken = _read_owner(grave)
        if taken is not None and taken != seen:
            # Somebody took the lock between our look and our rename: give it back.
            try:
                os.link(grave, self.path)
            except FileExistsError:
                pass
        grave.unlink()

    def _keep_fresh(self) -> None:
        while not self._stop.wait(TOUCH_EVERY_S):
            try:
                os.utime(self.path)
            except OSError:
                continue


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _read_owner(path: Path) -> dict[str, object] | None:
    try:
        owner = json.loads(_read_text(path) or "")
    except ValueError:
        return None
    return owner if isinstance(owner, dict) else None


def _is_elsewhere(owner: dict[str, object]) -> bool:
    return owner.get("host") != socket.gethostname()


def _is_abandoned(path: Path, owner: dict[str, object]) -> bool:
    job = _job_name()
    if job is not None and owner.get("job") == job and owner.get("pid") != os.getpid():
        # A scheduler runs one incarnation of a job at a time, so an earlier one is gone.
        return not is_running(owner) or _is_elsewhere(owner)
    if not _is_elsewhere(owner):
        return not is_running(owner)
    try:
        return time.time() - path.stat().st_mtime > STALE_AFTER_S
    except FileNotFoundError:
        return True


def _job_name() -> str | None:
    """Identity of the scheduler's job this process belongs to, None outside of one."""
    job = os.environ.get("SLURM_JOB_ID")
    return f"slurm-{job}-{os.environ.get('SLURM_STEP_ID', '')}" if job else None
