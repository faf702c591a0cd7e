"""Runs that go wrong stop with a named cause, a documented exit code, and nothing good lost."""

import dataclasses
import os
from pathlib import Path

import pytest
import torch
from helpers.training import make_config, never_stop, reproducible_lines

from orbit.core.config.program import EXIT_COLLAPSED, EXIT_NON_FINITE, ExitWithCode
from orbit.core.files.lock import DirectoryLock
from pipeline.methods.latent_action.objective import LatentActionObjective
from pipeline.training.run import train
from pipeline.training.run_directory import RunDirectory


def poison(monkeypatch: pytest.MonkeyPatch, at_call: int, term: int) -> None:
    """Make one loss term NaN from a given forward pass on."""
    forward, calls = LatentActionObjective.forward, iter(range(10**9))

    def poisoned(self: LatentActionObjective, *batch: torch.Tensor) -> object:
        total, terms = forward(self, *batch)
        if next(calls) >= at_call:
            terms = terms.clone()
            terms[term] = terms[0] = float("nan")
        return total, terms

    monkeypatch.setattr(LatentActionObjective, "forward", poisoned)


def test_a_loss_that_is_not_finite_is_named_with_its_step(
    digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, at_call=12, term=2)
    config = make_config(digits_dir, tmp_path / "run", "checkpoint_every=4", "log_every=5")
    with pytest.raises(ExitWithCode, match=r"loss/invariance is not finite in step 13") as stopped:
        train(config, never_stop())
    assert stopped.value.code == EXIT_NON_FINITE
    assert "step 12 is kept" in str(stopped.value)
    assert RunDirectory(tmp_path / "run").checkpoints.steps()[-1] == 12
    assert not (tmp_path / "run" / "result.json").exists()


def collapsing(*words: str) -> tuple[str, ...]:
    """Settings under which the output saturates: a huge learning rate and an early alarm."""
    return ("optimizer.learning_rate=3.0", "collapse.after_steps=5", "epochs=1", *words)


def test_collapse_stops_with_a_message(digits_dir: Path, tmp_path: Path) -> None:
    config = make_config(digits_dir, tmp_path / "run", *collapsing())
    with pytest.raises(ExitWithCode, match=r"step \d+: .*(collapsed|run away)") as stopped:
        train(config, never_stop())
    assert stopped.value.code == EXIT_COLLAPSED


def test_collapse_restarts_with_other_weights_and_gives_up_in_the_end(
    digits_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = collapsing("collapse.action=restart", "collapse.max_restarts=2")
    config = make_config(digits_dir, tmp_path / "run", *words)
    with pytest.raises(ExitWithCode):
        train(config, never_stop())
    assert capsys.readouterr().out.count("restarting with another initialisation") == 2
    first_losses = RunDirectory(tmp_path / "run").read_json("restarts.json")
    assert len(first_losses) == 2
    assert first_losses[0] != first_losses[1]


def test_a_restart_after_collapse_can_succeed(
    digits_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.methods.latent_action.task import LatentActionTask

    alarms = iter(["the model has collapsed"])
    monkeypatch.setattr(LatentActionTask, "collapse_message", lambda *_: next(alarms, None))
    words = ("collapse.action=restart", "collapse.after_steps=5", "epochs=1")
    result = train(make_config(digits_dir, tmp_path / "again", *words), never_stop())
    train(make_config(digits_dir, tmp_path / "plain", *words), never_stop())
    assert len(result["collapses"]) == 1
    assert reproducible_lines(tmp_path / "again") != reproducible_lines(tmp_path / "plain")
    steps = [line["step"] for line in reproducible_lines(tmp_path / "again")]
    assert steps == [line["step"] for line in reproducible_lines(tmp_path / "plain")]


def test_a_healthy_run_raises_no_alarm(digits_dir: Path, tmp_path: Path) -> None:
    words = ("collapse.after_steps=40", "epochs=5")
    assert train(make_config(digits_dir, tmp_path / "run", *words), never_stop())["collapses"] == []


def test_two_trainers_cannot_share_a_directory(digits_dir: Path, tmp_path: Path) -> None:
    with (
        DirectoryLock(tmp_path / "run", "trainers"),
        pytest.raises(ValueError, match="two trainers cannot share a directory"),
    ):
        train(make_config(digits_dir, tmp_path / "run"), never_stop())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("global_batch=10000",), "larger than an epoch"),
        (("accumulation=3",), "accumulation=3 must divide global_batch=32"),
        (("precision=tf32", "device=cpu"), "tf32 has no effect on a CPU"),
        (("schedule.final_fraction=0.1",), "no effect with schedule.shape=constant"),
        (("collapse.max_restarts=2",), "no effect with collapse.action=stop"),
        (("task.tau=1.5",), r"task\.tau=1.5 must lie between"),
        (("task.model.depth=5",), "sides divisible by 32, not 16; nearest: 32"),
        (("pairs=sometimes",), "allowed: stored, online"),
        (("init_from=/nowhere",), "no run at"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    digits_dir: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(make_config(digits_dir, tmp_path / "run", *words), never_stop())


def test_online_pairs_need_stored_orbits(episode_dir: Path, tmp_path: Path) -> None:
    config = make_config(episode_dir, tmp_path / "run", "pairs=online", "global_batch=4")
    with pytest.raises(ValueError, match="pairs=online needs a dataset with several elements"):
        train(config, never_stop())


def test_incomplete_and_damaged_datasets_are_refused(digits_dir: Path, tmp_path: Path) -> None:
    import shutil

    with pytest.raises(FileNotFoundError, match="no dataset at"):
        train(make_config(tmp_path / "nowhere", tmp_path / "run"), never_stop())
    shutil.copytree(digits_dir, tmp_path / "data")
    shard = next((tmp_path / "data" / "train").glob("*.h5"))
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"shard_\d+\.h5 has \d+ bytes, but the manifest says"):
        train(make_config(tmp_path / "data", tmp_path / "run"), never_stop())


def test_starting_from_another_run(digits_dir: Path, tmp_path: Path) -> None:
    first = make_config(digits_dir, tmp_path / "first", "epochs=2")
    train(first, never_stop())
    words = (f"init_from={tmp_path / 'first'}", "epochs=1")
    train(make_config(digits_dir, tmp_path / "second", *words), never_stop())
    before = reproducible_lines(tmp_path / "first")[0]["loss/total"]
    assert reproducible_lines(tmp_path / "second")[0]["loss/total"] < 0.8 * before
    wider = make_config(digits_dir, tmp_path / "third", *words, "task.model.width=12")
    misfit = r"do not fit this model: \S+ is [\d x]+ there, [\d x]+ here \(and \d+ more\)"
    with pytest.raises(ValueError, match=misfit):
        train(wider, never_stop())


def test_every_setting_is_recorded(digits_dir: Path, tmp_path: Path) -> None:
    config = make_config(digits_dir, tmp_path / "run", "epochs=1")
    train(config, never_stop())
    recorded = RunDirectory(tmp_path / "run").read_config()
    assert dataclasses.asdict(recorded) == dataclasses.asdict(config)
    environment = RunDirectory(tmp_path / "run").read_json("environment.json")
    assert {"packages", "git", "processor", "num_threads", "world_size"} <= set(environment)


def test_a_finished_run_that_cannot_be_written_tells_its_result(
    digits_run: Path, digits_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(path.name for path in digits_run.iterdir())
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != digits_run)
    config = make_config(digits_dir, digits_run, "epochs=1", "collapse.action=warn")
    result = train(config, never_stop())
    assert result == RunDirectory(digits_run).read_json("result.json")
    assert sorted(path.name for path in digits_run.iterdir()) == before
    other = make_config(digits_dir, digits_run, "epochs=2", "collapse.action=warn")
    with pytest.raises(ValueError, match="another configuration"):
        train(other, never_stop())


def test_a_mistake_that_shows_after_the_start_can_be_corrected(
    digits_run: Path, digits_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A directory in which nothing was trained takes the corrected configuration; one whose
    configuration a launcher gave keeps it, and so does one with a logged step."""
    words = ("epochs=1", "collapse.action=warn")
    for name in ("own", "launched"):
        wrong = (f"init_from={digits_run}", "task.model.width=12")
        with pytest.raises(ValueError, match="fit"):
            train(make_config(digits_dir, tmp_path / name, *words, *wrong), never_stop())
    (tmp_path / "launched" / "launch.json").write_text("{}")
    with pytest.raises(ValueError, match="another configuration"):
        train(make_config(digits_dir, tmp_path / "launched", *words), never_stop())

    right = make_config(digits_dir, tmp_path / "own", *words, "resume=never")
    train(right, never_stop())
    assert "nothing was trained" in capsys.readouterr().out
    assert RunDirectory(tmp_path / "own").read_config() == right
    (tmp_path / "own" / "result.json").unlink()
    with pytest.raises(ValueError, match="another configuration"):
        train(make_config(digits_dir, tmp_path / "own", "epochs=2"), never_stop())
