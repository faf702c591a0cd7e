"""The signals that ask a program to stop. All of them end a process that does not handle them."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGXCPU,
)
"""Those of schedulers, Ctrl-C, a closed terminal, a reached limit of processor time. QUIT is not
among them, so that a user can still end a program that does not respond."""


def heeded_stop_signals() -> tuple[signal.Signals, ...]:
    """The signals to handle: without HUP if `nohup` or a launcher has set it to be ignored."""
    is_hang_up_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(
        number for number in STOP_SIGNALS if number != signal.SIGHUP or not is_hang_up_ignored
    )


class StopRequest:
    """Remembers the first stop signal; later ones change nothing."""

    def __init__(self) -> None:
        self.signal_name: str | None = None

    def install(self) -> None:
        """Handle the stop signals from now on, instead of earlier handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in heeded_stop_signals():
                signal.signal(number, self._remember)

    def is_made(self) -> bool:
        """Whether a stop was requested; every wait checks this."""
        return self.signal_name is not None

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.signal_name is None:
            self.signal_name = signal.Signals(number).name


class EndedBySignal(BaseException):
    """A stop signal reached a program that has no state to save; raised at any point."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.number = number


@contextmanager
def ending_cleanly() -> Iterator[None]:
    """Turn the first stop signal inside the block into EndedBySignal, so that locks and drafts are
    removed.

    A second one ends the process at once. Ctrl-C remains a KeyboardInterrupt, and handlers that
    other code installs meanwhile are kept.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        put_back()
        if os.getpid() != owner:
            # In a forked worker: end as without this handler.
            os.kill(os.getpid(), number)
            return
        raise EndedBySignal(number)

    ours = [
        number
        for number in heeded_stop_signals()
        if number != signal.SIGINT and signal.getsignal(number) is signal.SIG_DFL
    ]

    def put_back() -> None:
        for number in ours:
            if signal.getsignal(number) is end:
                signal.signal(number, signal.SIG_DFL)

    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        put_back()
