"""What a task measures and draws of a finished run, beyond the metrics of its training."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from orbit.core.groups import Group
from orbit.core.store.manifest import Manifest
from orbit.core.store.reader import SplitReader


class TrainedModel(Protocol):
    """What measures and pictures know of a run: see `pipeline.runs.Run`."""

    @property
    def model(self) -> nn.Module:
        """In evaluation mode, with the weights of a checkpoint."""

    @property
    def group(self) -> Group:
        """The group of the dataset."""

    @property
    def step(self) -> int:
        """Of the checkpoint."""

    def places(self, world_size: int = 1) -> int:
        """Records of each of so many ranks that fit through the model at a time."""


@dataclass(frozen=True)
class Subject:
    """One checkpoint of a run on one split of a dataset.

    `batch` frames go through the model at a time. `max_records` bounds what is read, each
    task in its own way; None leaves the choice to the task.
    """

    run_dir: Path
    run: TrainedModel
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
