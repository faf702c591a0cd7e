"""One shard opened for reading by position; failing reads are tried again for some seconds."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from orbit.core.files.waiting import FILE_SYSTEM_HICCUPS, pause
from orbit.core.store.reader import refuse_other
from orbit.core.store.shard import Place, Stamp

T = TypeVar("T")

PAUSES_S = (0.1, 0.5, 2.0, 4.0)
"""Seconds before each retry of a read that failed or met the file's end too early."""
RETRIED = FILE_SYSTEM_HICCUPS | {errno.EINTR, errno.EAGAIN, errno.ENOMEM}
ALIGNMENT = 4096
"""Alignment of file offsets and memory for reads that bypass the page cache: a page."""


class ShardFile:
    """A shard's descriptor, and a second one for reads that bypass the page cache, if possible.

    Both are closed when the object is no longer referenced.
    """

    def __init__(self, path: Path, descriptor: int, stamp: Stamp, places: dict[str, Place]) -> None:
        self.path, self.descriptor, self.stamp, self.places = path, descriptor, stamp, places
        self._owned = [descriptor]
        self._uncached: int | None = None

    def go_past_cache(self) -> None:
        """Let `read_past_cache` bypass the cache, on file systems that can do this."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
        except OSError:
            return
        self._owned.append(descriptor)
        if os.path.samestat(os.fstat(descriptor), os.fstat(self.descriptor)):
            self._uncached = descriptor

    def open_again(self) -> None:
        """Open the file again after a network file system has given it another handle."""
        with open(self.path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            refuse_other(self.path, Stamp(status.st_size, status.st_mtime_ns), self.stamp)
            os.dup2(file.fileno(), self.descriptor, inheritable=False)

    def read_fully(self, offset: int, view: memoryview) -> None:
        """Fill the view with the bytes from `offset` on.

        A short read continues where it ended. A read that fails with a passing error, or meets the
        end of the file, is tried again after pauses; then OSError naming the file.
        """

        def read() -> int:
            try:
                num = os.preadv(self.descriptor, [view], offset)
            except OSError as error:
                if error.errno == errno.ESTALE:
                    self.open_again()
                raise
            if num == 0:
                raise OSError(errno.EIO, "is shorter than its manifest says")
            return num

        while view:
            num = retried(read, self.path)
            view, offset = view[num:], offset + num

    def read_past_cache(self, offset: int, room: np.ndarray, num_bytes: int) -> np.ndarray:
        """A view of `num_bytes` from `offset` on, within `room`: page-aligned uint8 memory of
        `room_for(num_bytes)` bytes.

        If the cache cannot be bypassed, the bytes are read through it.
        """
        skip = offset % ALIGNMENT
        found = room[skip : skip + num_bytes]
        num = 0
        if self._uncached is not None:
            whole = -(-(skip + num_bytes) // ALIGNMENT) * ALIGNMENT
            try:
                num = os.preadv(self._uncached, [room[:whole].data], offset - skip) - skip
            except OSError:
                # If anything else is wrong, the other way of reading raises it.
                self._uncached = None
        num = max(0, num)
        if num < num_bytes:
            self.read_fully(offset + num, found.data[num:])
        return found

    def __del__(self) -> None:
        for descriptor in self._owned:
            os.close(descriptor)


def room_for(num_bytes: int) -> int:
    """Bytes of memory needed to read `num_bytes` from any offset of a file."""
    return num_bytes + 2 * ALIGNMENT


def retried(action: Callable[[], T], path: Path) -> T:
    """Return what `action` returns; after a passing error try again, with pauses.

    The last error names the file.
    """
    pauses = iter(PAUSES_S)
    while True:
        try:
            return action()
        except OSError as error:
            pause_s = next(pauses, None) if error.errno in RETRIED else None
            if pause_s is None:
                if error.errno is None or error.filename is not None:
                    raise
                raise OSError(error.errno, error.strerror, str(path)) from None
        pause(pause_s, f"{path}, which cannot be read at the moment")
