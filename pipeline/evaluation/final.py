"""What a task measures and draws of a finished run, beyond the metrics of its training."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from data_prep.store.manifest import Manifest
from data_prep.store.reader import SplitReader
from pipeline.runs import Run


@dataclass(frozen=True)
class Subject:
    """One checkpoint of a run on one split of a dataset.

    `batch` frames go through the model at a time. `max_records` bounds what is read, each
    task in its own way; None leaves the choice to the task.
    """

    run_dir: Path
    run: Run
    manifest: Manifest
    reader: SplitReader
    split: str
    batch: int
    max_records: int | None = None


@dataclass(frozen=True)
class Findings:
    """`metrics`: finite numbers by name. `curves`: what is a list or a table rather than a
    number, as plain values; it goes to a file of its own."""

    metrics: dict[str, float]
    curves: dict[str, Any] = field(default_factory=dict)


class FinalEvaluation(Protocol):
    """The face of a module that evaluates the runs of one task."""

    def measure(self, subject: Subject) -> Findings:
        """Metrics and curves, but for rounding the same for any `batch`."""

    def draw(self, subject: Subject) -> None:
        """Write pictures below the run directory."""
