"""A run that is interrupted, however and how often, ends as one that was left alone."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.training import (
    StopAfter,
    final_weights,
    make_config,
    never_stop,
    reproducible_lines,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orbit.core.config.program import EXIT_STOPPED, ExitWithCode
from pipeline.training.run import train

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def undisturbed(digits_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
    train(make_config(digits_dir, run_dir, "checkpoint_every=7"), never_stop())
    return run_dir


def stop_at(config: object, num_steps: int) -> None:
    with pytest.raises(ExitWithCode) as stopped:
        train(config, StopAfter(num_steps))  # type: ignore[arg-type]
    assert stopped.value.code == EXIT_STOPPED


def assert_same(first: Path, second: Path) -> None:
    assert final_weights(first) == final_weights(second)
    assert reproducible_lines(first) == reproducible_lines(second)
    assert (first / "result.json").read_bytes() == (second / "result.json").read_bytes()


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(stops=st.lists(st.integers(1, 16), min_size=1, max_size=3))
def test_any_stops_leave_no_trace(
    undisturbed: Path, digits_dir: Path, tmp_path: Path, stops: list[int]
) -> None:
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    config = make_config(digits_dir, tmp_path / "run", "checkpoint_every=7")
    for num_steps in stops:
        stop_at(config, num_steps)
    train(config, never_stop())
    assert_same(undisturbed, tmp_path / "run")


def test_extra_state_survives_a_stop(digits_dir: Path, tmp_path: Path) -> None:
    """Moving average, carried tail, accumulation, schedule, clipping and bf16 together."""
    words = (
        "ema_decay=0.9",
        "tail=carry",
        "accumulation=2",
        "schedule.shape=cosine",
        "schedule.warmup_steps=5",
        "optimizer.clip_norm=0.5",
        "precision=bf16",
        "pairs=stored",
        "epochs=1",
        "global_batch=64",
        "retention.keep_every=10",
    )
    whole, cut = (make_config(digits_dir, tmp_path / name, *words) for name in ("whole", "cut"))
    train(whole, never_stop())
    stop_at(cut, 11)
    train(cut, never_stop())
    assert_same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", ["false", "true", "cuda_graphs"])
def test_a_stop_on_a_gpu_leaves_no_trace(compiled: str, digits_dir: Path, tmp_path: Path) -> None:
    """Counterpart on the CPU: test_any_stops_leave_no_trace."""
    words = ("device=cuda", "deterministic=true", "epochs=1", f"compile={compiled}")
    whole, cut = (make_config(digits_dir, tmp_path / name, *words) for name in ("whole", "cut"))
    train(whole, never_stop())
    stop_at(cut, 7)
    train(cut, never_stop())
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_views_of_the_contrast_go_on_where_they_stopped(digits_dir: Path, tmp_path: Path) -> None:
    words = ("task.contrast.name=views", "epochs=1")
    whole, cut = (make_config(digits_dir, tmp_path / name, *words) for name in ("whole", "cut"))
    train(whole, never_stop())
    stop_at(cut, 5)
    train(cut, never_stop())
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_lost_checkpoints_fall_back_to_the_one_before(
    undisturbed: Path, digits_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config(digits_dir, tmp_path / "run", "checkpoint_every=7")
    stop_at(config, 23)
    newest = tmp_path / "run" / "checkpoints" / "step_00000023" / "state.pt"
    newest.write_bytes(newest.read_bytes()[:-1])
    train(config, never_stop())
    assert "step_00000023 is damaged" in capsys.readouterr().out
    assert_same(undisturbed, tmp_path / "run")


def test_half_written_lines_and_checkpoints_are_cleared(
    undisturbed: Path, digits_dir: Path, tmp_path: Path
) -> None:
    config = make_config(digits_dir, tmp_path / "run", "checkpoint_every=7")
    stop_at(config, 9)
    run_dir = tmp_path / "run"
    with open(run_dir / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": 12, "epoch": 0, "split": "train"}) + '\n{"step": 13, "ep')
    (run_dir / "checkpoints" / ".step_00000014.tmp").mkdir()
    train(config, never_stop())
    assert_same(undisturbed, run_dir)
    assert not list((run_dir / "checkpoints").glob(".*"))


def test_a_finished_run_only_tells_its_result(undisturbed: Path, digits_dir: Path) -> None:
    before = (undisturbed / "result.json").stat().st_mtime_ns
    config = make_config(digits_dir, undisturbed, "checkpoint_every=7")
    assert train(config, never_stop())["state"] == "finished"
    assert (undisturbed / "result.json").stat().st_mtime_ns == before


def test_another_configuration_is_refused_by_name(undisturbed: Path, digits_dir: Path) -> None:
    config = make_config(digits_dir, undisturbed, "checkpoint_every=7", "optimizer.learning_rate=1")
    with pytest.raises(ValueError, match=r"optimizer.learning_rate: 0.001 -> 1.0"):
        train(config, never_stop())


def test_more_epochs_are_allowed_when_said(
    undisturbed: Path, digits_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(undisturbed, tmp_path / "run")
    words = ("checkpoint_every=7", "epochs=4", "allow_changes=true")
    result = train(make_config(digits_dir, tmp_path / "run", *words), never_stop())
    assert result["step"] == 4 * 17
    steps = [line["step"] for line in reproducible_lines(tmp_path / "run")]
    assert steps == sorted(steps)


def test_another_dataset_is_refused(undisturbed: Path, digits_dir: Path, tmp_path: Path) -> None:
    from data_prep.building.builder import build_dataset
    from data_prep.recipes import make_recipe
    from data_prep.settings import PrepareConfig
    from orbit.core.config.compose import compose
    from orbit.core.config.schema import build

    words = [f"out={tmp_path / 'other'}", "num_samples=200", "seed=9"]
    values = compose("prepare", words, frozenset({"out"}), {"source": "dataset"})
    build_dataset(make_recipe(build(PrepareConfig, values)), tmp_path / "other")
    shutil.copytree(undisturbed, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    config = make_config(tmp_path / "other", tmp_path / "run", "checkpoint_every=7")
    with pytest.raises(ValueError, match="another dataset"):
        train(config, never_stop())


def test_resume_never_refuses_a_used_directory(undisturbed: Path, digits_dir: Path) -> None:
    config = make_config(digits_dir, undisturbed, "checkpoint_every=7", "resume=never")
    with pytest.raises(ValueError, match="already holds a run"):
        train(config, never_stop())


def test_changed_threads_are_warned_of_by_name(
    digits_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("epochs=1",)
    stop_at(make_config(digits_dir, tmp_path / "run", *words), 3)
    try:
        train(make_config(digits_dir, tmp_path / "run", *words, "num_threads=2"), never_stop())
    finally:
        torch.set_num_threads(1)
    assert "num_threads: 1 -> 2" in capsys.readouterr().out


def test_kill_minus_nine_at_random_moments(digits_dir: Path, tmp_path: Path) -> None:
    path = ROOT / "tests" / "acceptance" / "kill_and_resume.py"
    spec = importlib.util.spec_from_file_location("kill_and_resume", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    words = ["epochs=6", "global_batch=32", "task.model.width=8", "log_every=5"]
    words += [f"data={digits_dir}", f"work={tmp_path / 'work'}", "checkpoint_every=7"]
    script.main([*words, "num_kills=2"])
