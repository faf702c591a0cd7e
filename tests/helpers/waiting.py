"""Waiting in tests: until something holds, never for a time."""

import time
from collections.abc import Callable

PATIENCE_S = 600.0
"""After so long a test takes it that what it waits for never comes: a net against waiting for ever,
which no sound test comes near on a slow machine under load."""


def wait_until(
    condition: Callable[[], object],
    what: str | Callable[[], object] = "",
    every_s: float = 0.05,
) -> None:
    """Ask until the condition holds; AssertionError with `what` after `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {PATIENCE_S:.0f} s: {said}")
        time.sleep(every_s)
