"""A control group with a limit of memory, of version 1 or 2, where this user may make one."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
KINDS = (
    # Folder that holds it, file that tells its kind, files that limit memory and swap.
    (GROUPS / "memory", "memory.limit_in_bytes", ("memory.limit_in_bytes",)),
    (GROUPS, "cgroup.controllers", ("memory.max", "memory.swap.max")),
)
PATIENCE_S = 20.0


@contextlib.contextmanager
def limited_memory(num_bytes: int) -> Iterator[Path | None]:
    """The file that processes are put into by their number; None where no group can be made.

    The group is gone at the end; its processes must have ended.
    """
    folder = _made(num_bytes)
    try:
        yield None if folder is None else folder / "cgroup.procs"
    finally:
        if folder is not None:
            deadline = time.monotonic() + PATIENCE_S
            while folder.is_dir() and time.monotonic() < deadline:
                try:
                    folder.rmdir()
                except OSError:
                    time.sleep(0.1)


def _made(num_bytes: int) -> Path | None:
    for top, mark, limits in KINDS:
        if not (top / mark).exists():
            continue
        folder = top / f"orbit_benchmark_{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            for index, limit in enumerate(limits):
                (folder / limit).write_text(str(num_bytes if index == 0 else 0))
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()
            continue
        return folder
    return None
