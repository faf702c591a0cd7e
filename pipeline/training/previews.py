"""Pictures of the same validation records during training, for a slider in reports.

run_dir/pictures/training/
  step_00000750.png ...   the model's outputs after that step
  frames.json             see `orbit/core/pictures.py`

The steps to draw depend on the plan and on the existing pictures, not on restarts: a run that
continues from a checkpoint draws the same pictures as an uninterrupted one. No result depends on
them.
"""

import math
from pathlib import Path

import numpy as np
from torch import nn

from orbit.core.pictures import Strip
from orbit.core.store.reader import RecordReader
from pipeline.measuring import spread
from pipeline.methods.interface import Method

FOLDER = "pictures/training"
NUM_RECORDS = 8
MAX_PICTURES = 24
"""The most pictures that are drawn, more often at the beginning."""


class Previews:
    """Draws pictures after some of the validations; none for a method without `preview`."""

    def __init__(self, run_dir: Path, method: Method, reader: RecordReader, num_steps: int) -> None:
        self._preview, self._reader, self._num_steps = method.preview, reader, num_steps
        self._strip = Strip(run_dir / FOLDER)

    def go_on_from(self, step: int) -> None:
        """Delete pictures of steps after `step`, and partly written files."""
        self._strip.cut(step)

    def draw(self, step: int, model: nn.Module) -> None:
        """Draw the outputs of `model` for the records after `step`, unless there are enough
        pictures."""
        drawn = self._strip.steps()
        if self._preview is None or (drawn and self._stretch(drawn[-1]) == self._stretch(step)):
            return
        records = self._reader.read(spread(self._reader.num_records, NUM_RECORDS))
        rows = self._preview(model, records, self._reader.frames)
        self._strip.add(
            step,
            np.stack(list(rows.values())),
            list(rows),
            title="Validation records as training went on",
            description=f"{len(records.source)} records and what the model made of them.",
        )

    def _stretch(self, step: int) -> int:
        """The number of the part of training that contains a step; the first step of each part is
        drawn."""
        return math.floor(MAX_PICTURES * math.sqrt(step / self._num_steps))
