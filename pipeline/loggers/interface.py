"""The interface of loggers: experiment trackers to which lines of metrics are sent."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from orbit.core.files.atomic import read_json_object, write_json

Position = tuple[int, str]
"""Step and split of a line. Lines come in this order, because `train` sorts before `val`."""
ABOUT = frozenset({"step", "epoch", "split"})


class Line(NamedTuple):
    """A line of metrics.jsonl: its position, its finite numbers by `split/name`, seconds since
    1970."""

    position: Position
    numbers: Mapping[str, float]
    time: float | None


def as_line(values: Mapping[str, Any]) -> Line:
    """A line read from metrics.jsonl, without values that are not finite (these are text there)."""
    step, split = int(values["step"]), str(values["split"])
    numbers = {
        f"{split}/{name}": float(value)
        for name, value in values.items()
        if name not in ABOUT and isinstance(value, int | float) and math.isfinite(value)
    }
    return Line(
        (step, split), {"epoch": float(values["epoch"]), **numbers}, values.get("time/unix")
    )


class Tracker(Protocol):
    """One run of a tracker, used by one thread. Every method may raise any exception."""

    def last(self) -> Position | None:
        """The position of the last line that arrived, in this attempt or an earlier one."""

    def send(self, lines: Sequence[Line]) -> None:
        """Send lines after the last one, in order."""

    def close(self, is_finished: bool) -> None:
        """Called at the end of the trainer; unless `is_finished`, the run will be continued."""


@dataclass(frozen=True)
class Start:
    """The data with which a tracker starts. `settings` are the keys of the configuration. `attempt`
    counts restarts after a collapse, each of which is a separate run of the tracker."""

    run_dir: Path
    settings: Mapping[str, Any]
    attempt: int = 0

    @property
    def name(self) -> str:
        """The name of the tracker's run."""
        name = self.run_dir.absolute().name
        return name if self.attempt == 0 else f"{name}, attempt {self.attempt + 1}"

    def read_note(self, logger: str) -> dict[str, Any]:
        """The logger's note in the run directory from an earlier start of this attempt; empty if
        there is none.

        Raises errors of the operating system: without its note a run would be begun anew.
        """
        note = read_json_object(self.run_dir / note_file(logger)) or {}
        return note if note.get("attempt") == self.attempt else {}

    def is_owed(self, logger: str) -> bool:
        """Whether a logger's run was begun and has not all lines yet, as far as its note says."""
        try:
            note = self.read_note(logger)
        except OSError:
            return False
        return "id" in note and not note.get("complete")

    def write_note(self, logger: str, note: Mapping[str, Any]) -> None:
        """Save a note for the next start, on any machine."""
        write_json(self.run_dir / note_file(logger), {"attempt": self.attempt, **note})


def note_file(logger: str) -> str:
    """The file that holds the id of a logger's run."""
    return f"logger_{logger}.json"
