"""Errors of a file system that may be gone at the next try, or on another machine."""

import errno
from collections.abc import Callable
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
