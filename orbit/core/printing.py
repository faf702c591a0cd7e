"""Printing lines for the user. Printing never ends a program.

A pipe without a reader, a full disk, a closed terminal or an ASCII terminal must not cost hours of
work: text that cannot be shown is dropped.
"""

import errno
import io
import os
import sys
from collections.abc import Mapping
from typing import Any

from orbit.core.user_text import parse_integer


class SteadyStream(io.TextIOBase):
    """A text stream that cannot fail: it writes to `stream` what can be written.

    Letters that its encoding lacks are written as escapes. A full disk is reported once on standard
    error; a reader that has gone is not.
    """

    def __init__(self, stream: Any, name: str = "standard output") -> None:
        self.stream, self._name = stream, name
        self._is_complained_of = False

    def write(self, text: str) -> int:
        try:
            self.stream.write(text)
        except UnicodeEncodeError:
            encoding = getattr(self.stream, "encoding", None) or "ascii"
            self.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError, AttributeError) as error:
            self._complain(error)
        return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except (OSError, ValueError, AttributeError) as error:
            self._complain(error)

    def isatty(self) -> bool:
        try:
            return bool(self.stream.isatty())
        except (OSError, ValueError, AttributeError):
            return False

    def fileno(self) -> int:
        return int(self.stream.fileno())

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self.stream, "encoding", None) or "utf-8"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _complain(self, error: Exception) -> None:
        is_worth_it = isinstance(error, OSError) and error.errno not in (errno.EPIPE, errno.EBADF)
        if is_worth_it and not self._is_complained_of and self._name == "standard output":
            self._is_complained_of = True
            reason = getattr(error, "strerror", None) or str(error)
            SteadyStream(sys.stderr, "standard error").write(
                f"{self._name} cannot be written ({reason}): continuing without it\n"
            )


def steady_streams() -> None:
    """From now on, printing by this process and its libraries never raises an error."""
    if not isinstance(sys.stdout, SteadyStream):
        sys.stdout = SteadyStream(sys.stdout)  # type: ignore[assignment]
    if not isinstance(sys.stderr, SteadyStream):
        sys.stderr = SteadyStream(sys.stderr, "standard error")  # type: ignore[assignment]


def say(text: str, error: bool = False) -> None:
    """Print a line on standard output, or on standard error; never fails."""
    stream: Any = sys.stderr if error else sys.stdout
    steady = stream if isinstance(stream, SteadyStream) else SteadyStream(stream)
    steady.write(f"{text}\n")
    steady.flush()


def rank_of_environment(environment: Mapping[str, str] | None = None) -> int:
    """The rank that the environment gives this process; 0 unless WORLD_SIZE is above 1.

    So a RANK that another program left in the environment is ignored. Raises ValueError for a rank
    that is not a number below WORLD_SIZE.
    """
    given = os.environ if environment is None else environment
    world_size = world_size_of_environment(given)
    if world_size == 1:
        return 0
    rank = parse_integer(given.get("RANK", ""))
    if rank is None or not 0 <= rank < world_size:
        raise ValueError(
            f"RANK={given.get('RANK', '')} in the environment is not a rank of"
            f" WORLD_SIZE={world_size}: start through torchrun, or unset both"
        )
    return rank


def world_size_of_environment(environment: Mapping[str, str] | None = None) -> int:
    """The world size that the environment gives; 1 if it gives none.

    Raises ValueError for a WORLD_SIZE that is not an integer of at least 1.
    """
    text = (os.environ if environment is None else environment).get("WORLD_SIZE", "")
    world_size = 1 if text == "" else parse_integer(text)
    if world_size is None or world_size < 1:
        raise ValueError(f"WORLD_SIZE={text} in the environment is not a number of ranks")
    return world_size


def metrics_table(metrics: Mapping[str, float]) -> str:
    """Two aligned columns: name and value."""
    width = max(len(name) for name in metrics)
    return "\n".join(f"  {name:{width}}  {value:>12.6g}" for name, value in metrics.items())
