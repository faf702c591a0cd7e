"""metrics.jsonl and TensorBoard events of a run, written by the first rank.

One JSON object a line, keyed by step. Before a run continues from a checkpoint,
lines of later steps are cut off, so nothing is logged twice. Keys under `speed/`,
`memory/` and `time/` depend on the clock; all others are reproducible.
"""

import contextlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.files.atomic import write_text
from pipeline.files.events import open_events

WALL_CLOCK_PREFIXES = ("speed/", "memory/", "time/")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a metrics file; a line cut off by a crash is left out."""
    lines = []
    if path.exists():
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                break
    return lines


def without_wall_clock(line: dict[str, Any]) -> dict[str, Any]:
    """A line's reproducible part."""
    return {key: value for key, value in line.items() if not key.startswith(WALL_CLOCK_PREFIXES)}


class MetricsLog:
    """Appends lines after those up to `first_step`; a context manager."""

    def __init__(self, run_dir: Path, first_step: int) -> None:
        path = self._path = run_dir / "metrics.jsonl"
        kept = [line for line in read_metrics(path) if line["step"] <= first_step]
        write_text(path, "".join(_as_line(line) for line in kept))
        self.latest: dict[str, float] = {}
        """Values of the newest training line of this process."""
        self._file = open(path, "a", encoding="utf-8")
        self._first_step = first_step
        self._writer: Any = None

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *error: object) -> None:
        # What counts was put on disk by `sync`; why the run ends must not be hidden.
        with contextlib.suppress(OSError):
            self._file.close()
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()

    def write(self, step: int, epoch: int, split: str, values: dict[str, float]) -> None:
        """Append a line; `epoch` counts finished epochs. NaN and infinity become text."""
        with _naming(self._path):
            self._file.write(_as_line({"step": step, "epoch": epoch, "split": split, **values}))
            self._file.flush()
        if split == "train":
            self.latest = values
        with _naming(self._path.with_name("events.out.tfevents")):
            for name, value in values.items():
                self._events.add_scalar(f"{split}/{name}", value, step)

    @property
    def _events(self) -> Any:
        """TensorBoard's writer, whose library is slow to import: with the first line."""
        if self._writer is None:
            self._writer = open_events(self._path.parent, purge_step=self._first_step + 1)
        return self._writer

    def sync(self) -> None:
        """Put everything written so far on disk; called before each checkpoint."""
        with _naming(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
        if self._writer is not None:
            with _naming(self._path.with_name("events.out.tfevents")):
                self._writer.flush()


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say which file could not be written: what is opened already names itself no more."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _as_line(line: dict[str, Any]) -> str:
    plain = {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in line.items()
    }
    return json.dumps(plain, ensure_ascii=False) + "\n"
