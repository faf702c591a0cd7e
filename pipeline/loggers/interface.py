"""What a logger is: a tracker of experiments that lines of metrics are sent to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from orbit.core.files.atomic import parse_json, write_json

Position = tuple[int, str]
"""Step and split of a line: lines come in this order, as `train` stands before `val`."""
ABOUT = frozenset({"step", "epoch", "split"})


class Line(NamedTuple):
    """A line of metrics.jsonl: its place, finite numbers by `split/name`, seconds since 1970."""

    position: Position
    numbers: Mapping[str, float]
    time: float | None


def as_line(values: Mapping[str, Any]) -> Line:
    """A line as it stands in metrics.jsonl; what is not finite, which stands there as text, is
    left out."""
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
    """One run of a tracker, used by one thread. Every method may raise whatever it likes."""

    def last(self) -> Position | None:
        """The last line that arrived, in this start or an earlier one."""

    def send(self, lines: Sequence[Line]) -> None:
        """Lines after that, in order."""

    def close(self, is_finished: bool) -> None:
        """The trainer ends; unless `is_finished`, the run will be continued."""


@dataclass(frozen=True)
class Start:
    """What a tracker is told: `settings` are the keys of the configuration, `attempt` counts
    restarts after a collapse, which are runs of their own."""

    run_dir: Path
    settings: Mapping[str, Any]
    attempt: int = 0

    @property
    def name(self) -> str:
        """What the run is called."""
        name = self.run_dir.absolute().name
        return name if self.attempt == 0 else f"{name}, attempt {self.attempt + 1}"

    def read_note(self, logger: str) -> dict[str, Any]:
        """What an earlier start of this attempt kept of a logger in the run directory."""
        try:
            note = parse_json((self.run_dir / note_file(logger)).read_bytes())
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) and note.get("attempt") == self.attempt else {}

    def write_note(self, logger: str, note: Mapping[str, Any]) -> None:
        """Keep it for the next start, on whichever machine."""
        write_json(self.run_dir / note_file(logger), {"attempt": self.attempt, **note})


def note_file(logger: str) -> str:
    """Where the id of a logger's run is kept."""
    return f"logger_{logger}.json"
