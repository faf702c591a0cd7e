"""Pictures of the same validation records as training goes on: what a report slides through.

run_dir/pictures/training/
  step_00000750.png ...   what the model made of them after that step
  frames.json             see `orbit/core/pictures.py`

Which steps are drawn depends on the plan and on what is there already, not on restarts: a run
that goes on from a checkpoint draws what an uninterrupted one draws. No result depends on them.
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
"""At most so many are drawn, closer to each other at the beginning."""


class Previews:
    """Draws after some of the validations; nothing for a method that has no `preview`."""

    def __init__(self, run_dir: Path, method: Method, reader: RecordReader, num_steps: int) -> None:
        self._preview, self._reader, self._num_steps = method.preview, reader, num_steps
        self._strip = Strip(run_dir / FOLDER)

    def go_on_from(self, step: int) -> None:
        """Delete what was drawn later than `step`, and what was left half-written."""
        self._strip.cut(step)

    def draw(self, step: int, model: nn.Module) -> None:
        """Draw what `model` makes of the records after `step`, unless enough is drawn."""
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
        """Which of the stretches of training a step lies in; of each the first is drawn."""
        return math.floor(MAX_PICTURES * math.sqrt(step / self._num_steps))
