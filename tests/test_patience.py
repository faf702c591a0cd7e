"""Early stopping: `patience`.

Protects that a run ends at the validation it should and says so, that it ends at the very same
step however often it was interrupted, and that a patience without effect is refused.
"""

import contextlib
import shutil
from pathlib import Path

import pytest
from helpers.training import StopAfter, final_weights, make_config, never_stop, reproducible_lines
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orbit.core.config.program import ExitWithCode
from orbit.core.files.atomic import read_json_object
from pipeline.training.run import train
from pipeline.training.trainer import Plan

EVERY = 3
WORDS = ("epochs=4", f"validate_every={EVERY}", "checkpoint_every=4", "collapse.action=warn")
RESTLESS = (*WORDS, "patience=1", "optimizer.learning_rate=0.05", "task.model.width=4")
"""Steps so long that the loss goes up and down."""


@pytest.fixture(scope="module")
def whole(digits_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody interrupted."""
    out = tmp_path_factory.mktemp("patience") / "whole"
    train(make_config(digits_dir, out, *RESTLESS), never_stop())
    return out


def test_it_ends_after_so_many_validations_without_a_better_one(whole: Path) -> None:
    result = read_json_object(whole / "result.json")
    assert result is not None
    losses = {
        line["step"]: line["loss/total"]
        for line in reproducible_lines(whole)
        if line["split"] == "val"
    }
    best, since, expected = float("inf"), 0, None
    for step, loss in losses.items():
        best, since = (loss, 0) if loss < best else (best, since + 1)
        if since == 1:
            expected = step
            break
    assert expected is not None
    assert result["step"] == expected == max(losses) < 4 * 17
    assert result["best_step"] == expected - EVERY
    assert result["ended_early"].startswith("1 validation in a row was no better")


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stops=st.lists(st.integers(1, 12), min_size=1, max_size=2), is_killed=st.booleans())
def test_interrupted_anywhere_it_ends_at_the_same_step(
    stops: list[int], is_killed: bool, whole: Path, digits_dir: Path, tmp_path: Path
) -> None:
    """Also if it was killed after its last checkpoint and before it had said its result."""
    out = tmp_path / "run"
    shutil.rmtree(out, ignore_errors=True)
    config = make_config(digits_dir, out, *RESTLESS)
    for num_steps in stops:
        with contextlib.suppress(ExitWithCode):  # it may be at its end before
            train(config, StopAfter(num_steps))
    train(config, never_stop())
    if is_killed:
        (out / "result.json").unlink()
        train(config, never_stop())
    assert read_json_object(out / "result.json") == read_json_object(whole / "result.json")
    assert final_weights(out) == final_weights(whole)
    assert reproducible_lines(out) == reproducible_lines(whole)


@pytest.mark.parametrize("patience", [22, 1000])
def test_a_patience_that_is_never_at_an_end_is_refused(
    patience: int, digits_dir: Path, tmp_path: Path
) -> None:
    config = make_config(digits_dir, tmp_path / "run", *WORDS, f"patience={patience}")
    with pytest.raises(ValueError, match=rf"^patience={patience} has no effect .* 1 to 21"):
        train(config, never_stop())
    assert not (tmp_path / "run").exists()


@given(st.integers(1, 500), st.one_of(st.none(), st.integers(1, 600)), st.integers(1, 60))
def test_validations_are_counted_as_they_are_made(
    num_steps: int, every: int | None, epoch: int
) -> None:
    plan = Plan(num_steps, lambda s: s % epoch == 0, lambda s: s // epoch, every, None, 10)
    steps = range(1, num_steps + 1)
    assert plan.num_validations == sum(map(plan.is_validation_step, steps))
