"""Errors of a file system that may be gone at the next try, or on another machine."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pipeline.files.waiting import pause
from pipeline.printing import say

FILE_SYSTEM_HICCUPS = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EREMOTEIO,
        errno.ESHUTDOWN,
    }
)
PASSING_ERRORS = FILE_SYSTEM_HICCUPS | {
    errno.EINTR,
    errno.EAGAIN,
    errno.ENOMEM,
    errno.EMFILE,
    errno.ENFILE,
}
"""Errors of reading that say nothing about what a file holds."""
PAUSES_S = (2.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds before each new try: nearly nine minutes in all."""

T = TypeVar("T")


def is_hiccup(error: BaseException) -> bool:
    """Whether a file system said no that may say yes at the next try."""
    return isinstance(error, OSError) and error.errno in FILE_SYSTEM_HICCUPS


def trying_again(
    action: Callable[[], T], what: str, should_stop: Callable[[], bool] | None = None
) -> T:
    """What `action` returns; after a hiccup it is called again, after longer and longer pauses.

    Raises its error if that is none, or if it comes again after the last pause, and
    StoppedWaiting within a pause in which `should_stop` turns true.
    """
    for seconds in PAUSES_S:
        try:
            return action()
        except OSError as error:
            if not is_hiccup(error):
                raise
            place = "" if error.filename is None else f"{error.filename}: "
            say(f"{what}: {place}{error.strerror or error}; trying again", error=True)
        pause(seconds, f"another try: {what}", should_stop)
    return action()


def raise_passing(error: BaseException, path: Path) -> None:
    """Raise OSError naming the file if a reader failed since it could not be read just now.

    Readers call this before they say that a file is damaged. Libraries turn errors of the
    operating system into errors of their own, so what an error arose from counts too.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in PASSING_ERRORS:
            raise OSError(cause.errno, os.strerror(cause.errno), str(path)) from error
        cause = cause.__cause__ or cause.__context__
