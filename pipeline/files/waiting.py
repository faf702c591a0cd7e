"""Waiting for something outside: never in silence, never deaf to a request to stop."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pipeline.printing import say

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

    After `timeout_s` seconds it returns what `check` returned last. `what` says what is
    waited for; it is printed after two seconds, and every minute. Raises StoppedWaiting
    within a poll of `should_stop` turning true.
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
    """Let time pass for a stated reason; StoppedWaiting as `wait_until`."""
    wait_until(lambda: False, what, timeout_s=seconds, should_stop=should_stop)


@contextmanager
def saying(what: str) -> Iterator[None]:
    """For a call of a library or a program that waits by itself: says so after two seconds."""
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
