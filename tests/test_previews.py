"""Pictures of validation records over training: what is drawn, and when.

Protects that a run which was stopped anywhere has the pictures of one that was left alone, that
there are never too many, and that nothing of a later step is left when training goes back.
"""

from pathlib import Path

import numpy as np
import pytest
from helpers.training import StopAfter, make_config, never_stop
from hypothesis import given
from hypothesis import strategies as st

from orbit.core.config.program import ExitWithCode
from orbit.core.pictures import STEP_SLIDER, Strip, read_frame_set
from orbit.core.store.reader import Records
from pipeline.methods.latent_action.method import METHOD
from pipeline.training.previews import FOLDER, MAX_PICTURES, Previews
from pipeline.training.run import train


def content(run_dir: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (run_dir / FOLDER).iterdir()}


def test_a_run_that_was_stopped_has_the_same_pictures(digits_dir: Path, tmp_path: Path) -> None:
    words = ("epochs=2", "validate_every=7", "checkpoint_every=5")
    train(make_config(digits_dir, tmp_path / "whole", *words), never_stop())
    stopped = make_config(digits_dir, tmp_path / "stopped", *words)
    with pytest.raises(ExitWithCode):
        train(stopped, StopAfter(16))
    # As if it had been killed between a validation and its checkpoint.
    Strip(tmp_path / "stopped" / FOLDER).add(28, np.zeros((3, 8, 1, 8, 8)), "abc", "", "")
    train(stopped, never_stop())
    expected = content(tmp_path / "whole")
    assert content(tmp_path / "stopped") == expected
    frames = read_frame_set(tmp_path / "whole" / FOLDER)
    assert frames is not None
    assert frames.slider == STEP_SLIDER
    assert frames.labels == ("7", "14", "21", "28", "34")
    assert frames.rows == ("source", "output", "truth")
    assert len(set(expected.values())) == len(expected)  # each step looks different


class Reader:
    """Records of nothing."""

    num_records, frames = 20, None

    def read(self, records: np.ndarray) -> Records:
        return Records(*(np.zeros((len(records), 1, 4, 4), np.uint8) for _ in Records._fields))


@given(st.integers(1, 5000), st.integers(1, 700), st.data())
def test_never_more_than_so_many_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, num_steps: int, every: int, data: st.DataObject
) -> None:
    """Steps that are drawn do not depend on where a run was stopped and went on."""
    steps = sorted({*range(every, num_steps + 1, every), num_steps})
    drawn: list[list[int]] = []
    stops = [[], data.draw(st.lists(st.sampled_from(steps), max_size=3).map(sorted))]
    for number, cuts in enumerate(stops):
        previews = Previews(Path("none"), METHOD, Reader(), num_steps)  # type: ignore[arg-type]
        strip = Memory()
        previews._strip, previews._preview = strip, lambda *_: {"a": np.zeros(1)}  # type: ignore[assignment]
        for step in steps:
            previews.draw(step, None)  # type: ignore[arg-type]
            if step in cuts:
                for other in (other for other in steps if step < other <= step + 3 * every):
                    previews.draw(other, None)  # type: ignore[arg-type]
                previews.go_on_from(step)
        drawn.append(strip.found)
        assert len(strip.found) <= MAX_PICTURES + 1, number
    assert drawn[0] == drawn[1]
    assert drawn[0][0] == steps[0]
    assert drawn[0][-1] == num_steps


class Memory(Strip):
    """A strip that writes nothing."""

    def __init__(self) -> None:
        self.found: list[int] = []

    def steps(self) -> list[int]:
        return self.found

    def cut(self, last_step: int) -> None:
        self.found = [step for step in self.found if step <= last_step]

    def add(self, step: int, *_: object, **__: object) -> None:  # type: ignore[override]
        self.found.append(step)
