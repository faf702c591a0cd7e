"""metrics.jsonl and TensorBoard events of a run, written by the first rank.

One JSON object a line, keyed by step. Before a run continues from a checkpoint,
lines of later steps are cut off, so nothing is logged twice. Keys under `speed/`,
`memory/` and `time/` depend on the clock; all others are reproducible.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

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
        path = run_dir / "metrics.jsonl"
        kept = [line for line in read_metrics(path) if line["step"] <= first_step]
        draft = path.with_name(".metrics.jsonl.tmp")
        with open(draft, "w", encoding="utf-8") as file:
            file.writelines(_as_line(line) for line in kept)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        self.latest: dict[str, float] = {}
        """Values of the newest training line of this process."""
        self._file = open(path, "a", encoding="utf-8")
        from torch.utils.tensorboard import SummaryWriter

        self._events = SummaryWriter(str(run_dir), purge_step=first_step + 1)  # type: ignore[no-untyped-call]

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self._events.close()  # type: ignore[no-untyped-call]

    def write(self, step: int, epoch: int, split: str, values: dict[str, float]) -> None:
        """Append a line; `epoch` counts finished epochs. NaN and infinity become text."""
        self._file.write(_as_line({"step": step, "epoch": epoch, "split": split, **values}))
        self._file.flush()
        if split == "train":
            self.latest = values
        for name, value in values.items():
            self._events.add_scalar(f"{split}/{name}", value, step)  # type: ignore[no-untyped-call]

    def sync(self) -> None:
        """Put everything written so far on disk; called before each checkpoint."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._events.flush()  # type: ignore[no-untyped-call]


def _as_line(line: dict[str, Any]) -> str:
    plain = {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in line.items()
    }
    return json.dumps(plain, ensure_ascii=False) + "\n"
