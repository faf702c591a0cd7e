"""Weights & Biases: one run, whose id the run directory holds, off-line by default.

RUN_DIR/wandb/ holds the files; `wandb sync` uploads them from a machine with a network. With
WANDB_MODE=online the library uploads by itself. WANDB_PROJECT and its other variables work as
usual.
"""

import os
import uuid
from collections.abc import Sequence
from typing import Any

from pipeline.loggers.interface import Line, Position, Start

NAME = "wandb"
PROJECT = "orbit"


class WandbTracker:
    """See `pipeline.loggers.interface.Tracker`. The position of a line is noted before it is sent:
    after a crash a line may be missing, but none is sent twice."""

    def __init__(self, start: Start) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        self._start, self._note = start, start.read_note(NAME)
        if "id" not in self._note:
            self._note = {"id": uuid.uuid4().hex[:16], "last": None}
            start.write_note(NAME, self._note)
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=self._note["id"],
            name=start.name,
            resume="allow",
            mode=os.environ.get("WANDB_MODE", "offline"),
            dir=str(start.run_dir),
            config=dict(start.settings),
            settings=wandb.Settings(console="off", silent=True, save_code=False),
        )
        if self._run.id != self._note["id"]:
            # The library returns a run that is still open in this process, such as one whose
            # server hung before the restart.
            raise RuntimeError(f"the run {self._run.id} of this process has not ended yet")

    def last(self) -> Position | None:
        last = self._note.get("last")
        return None if last is None else (int(last[0]), str(last[1]))

    def send(self, lines: Sequence[Line]) -> None:
        self._note = {**self._note, "last": list(lines[-1].position)}
        self._start.write_note(NAME, self._note)
        for line in lines:
            self._run.log(dict(line.numbers), step=line.position[0])

    def close(self, is_finished: bool) -> None:
        if not is_finished:
            self._run.mark_preempting()
        self._run.finish(exit_code=0 if is_finished else 1)
        self._start.write_note(NAME, {**self._note, "complete": is_finished})
