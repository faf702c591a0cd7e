"""Waiting for something outside, and trying again: it says so, and a stop signal ends it."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from orbit.core.printing import say

SAY_AFTER_S = 2.0
SAY_AGAIN_AFTER_S = 60.0
POLL_S = 0.2

T = TypeVar("T")


class StoppedWaiting(Exception):
    """Somebody asked this program to stop while it waited; the message says for what."""


def wait_until(
    check: Callable[[], T],
    what: str | Callable[[], str],
    *,
    poll_s: float = POLL_S,
    timeout_s: float | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> T:
    """Call `check` every `poll_s` seconds until it returns something true, and return that.

    After `timeout_s` seconds it returns what `check` returned last. `what` names what it waits for;
    it is printed after two seconds, and every minute. Raises StoppedWaiting within a poll of
    `should_stop` turning true.
    """
    started = time.monotonic()
    say_at = started + SAY_AFTER_S
    while not (found := check()):
        now = time.monotonic()
        if timeout_s is not None and now - started >= timeout_s:
            break
        if should_stop is not None and should_stop():
            raise StoppedWaiting(f"asked to stop while waiting for {_text(what)}")
        if now >= say_at:
            say_at = now + SAY_AGAIN_AFTER_S
            say(f"waiting for {_text(what)}" + _until(started, timeout_s, now))
        left = poll_s if timeout_s is None else min(poll_s, started + timeout_s - now)
        time.sleep(max(0.0, left))
    return found


def pause(seconds: float, what: str, should_stop: Callable[[], bool] | None = None) -> None:
    """Wait `seconds` for a stated reason; raises StoppedWaiting as `wait_until` does."""
    wait_until(lambda: False, what, timeout_s=seconds, should_stop=should_stop)


@contextmanager
def saying(what: str) -> Iterator[None]:
    """Context for a call that waits by itself: prints what it waits for after two seconds."""
    timer = threading.Timer(SAY_AFTER_S, say, [f"waiting for {what}"], {"error": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _text(what: str | Callable[[], str]) -> str:
    return what if isinstance(what, str) else what()


def _until(started: float, timeout_s: float | None, now: float) -> str:
    return "" if timeout_s is None else f" (at most {started + timeout_s - now:.0f} s more)"


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
"""Errors of reading that may pass and say nothing about the content of a file."""
PAUSES_S = (2.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds before each retry: nearly nine minutes in all."""


def is_hiccup(error: BaseException) -> bool:
    """Whether an error of the file system may pass, so that a retry makes sense."""
    return isinstance(error, OSError) and error.errno in FILE_SYSTEM_HICCUPS


def trying_again(
    action: Callable[[], T], what: str, should_stop: Callable[[], bool] | None = None
) -> T:
    """Return what `action` returns; after a passing error call it again, with growing pauses.

    Raises the error if it is not a passing one, or if it occurs again after the last pause, and
    StoppedWaiting if `should_stop` turns true in a pause.
    """
    for seconds in PAUSES_S:
        try:
            return action()
        except OSError as error:
            if not is_hiccup(error):
                raise
            place = "" if error.filename is None else f"{error.filename}: "
            say(f"{what}: {place}{error.strerror or error}; trying again", error=True)
        pause(seconds, f"the next try: {what}", should_stop)
    return action()


def raise_passing(error: BaseException, path: Path) -> None:
    """Raise OSError naming the file if a reader failed because of a passing error of reading.

    Readers call this before they say that a file is damaged. Libraries turn errors of the operating
    system into their own errors, so the causes of an error are checked too.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in PASSING_ERRORS:
            raise OSError(cause.errno, os.strerror(cause.errno), str(path)) from error
        cause = cause.__cause__ or cause.__context__
