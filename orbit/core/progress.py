"""Progress on a terminal as a bar, elsewhere as plain lines at a bounded rate."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

from tqdm import tqdm

from orbit.core.printing import say

LINE_EVERY_S = 10.0
T = TypeVar("T")


class Progress:
    """Counts `total` units of work; a context manager.

    `note` is a short text shown beside the count, such as the latest loss. With `enabled=False`
    (ranks other than the first) nothing is shown; with `lines=False` it is shown on terminals only.
    """

    def __init__(
        self,
        total: int,
        unit: str,
        label: str,
        initial: int = 0,
        enabled: bool = True,
        lines: bool = True,
    ) -> None:
        self.total, self.unit, self.label, self.done = total, unit, label, initial
        self._note = ""
        self._enabled, self._lines = enabled, lines
        self._bar: Any = None  # a tqdm bar
        if enabled and sys.stderr.isatty():
            self._bar = tqdm(
                total=total,
                initial=initial,
                unit=unit,
                desc=label,
                dynamic_ncols=True,
                smoothing=0.05,
                leave=False,
            )
        self._last_line = time.monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def note(self, text: str) -> None:
        """Set the text beside the count."""
        self._note = text
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    @contextmanager
    def showing(self, text: str) -> Iterator[None]:
        """Show a text beside the bar while the program does something that is not counted."""
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=True)
        yield
        self.note(self._note)

    def advance(self, num: int = 1) -> None:
        """Count `num` more units as done."""
        self.done += num
        if self._bar is not None:
            self._bar.update(num)
        elif self._enabled and self._lines and time.monotonic() - self._last_line > LINE_EVERY_S:
            self._last_line = time.monotonic()
            note = f"  {self._note}" if self._note else ""
            say(f"{self.label}: {self.done}/{self.total} {self.unit}{note}")

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items; each is counted when the next one is requested."""
        for item in items:
            yield item
            self.advance()

    def through(self, parts: Mapping[str, Callable[[], T]]) -> Iterator[T]:
        """Yield the results of named pieces of work, and show the name of the current piece."""
        for name, work in parts.items():
            with self.showing(name):
                result = work()
            yield result
            self.advance()

    def say(self, text: str) -> None:
        """Print a line without disturbing the bar."""
        if not self._enabled:
            return
        if self._bar is not None:
            self._bar.write(text, file=sys.stdout)
        else:
            say(text)
