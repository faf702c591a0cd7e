"""Schedule, accumulation, precision, averaging and checkpoint retention do what they say."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from helpers.training import make_config, never_stop, reproducible_lines

from pipeline.run_files.checkpoint import CheckpointStore
from pipeline.training.optimisation import learning_rate
from pipeline.training.run import train
from pipeline.training.settings import OptimizerConfig, ScheduleConfig


def test_schedule_warms_up_and_falls_to_its_final_fraction() -> None:
    optimizer = OptimizerConfig(learning_rate=1.0)
    schedule = ScheduleConfig("cosine", warmup_steps=10, final_fraction=0.1)
    rates = [learning_rate(optimizer, schedule, step, 110) for step in range(111)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == 1.0
    assert rates[60] == pytest.approx(0.55)
    assert rates[110] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def losses(digits_dir: Path, run_dir: Path, *words: str) -> list[float]:
    train(make_config(digits_dir, run_dir, "epochs=1", "log_every=1", *words), never_stop())
    lines = reproducible_lines(run_dir)
    return [line["loss/total"] for line in lines if line["split"] == "train"]


def test_accumulation_does_not_change_the_global_batch(digits_dir: Path, tmp_path: Path) -> None:
    whole = losses(digits_dir, tmp_path / "whole")
    parts = losses(digits_dir, tmp_path / "parts", "accumulation=4")
    assert parts == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_learns_alike(digits_dir: Path, tmp_path: Path, precision: str) -> None:
    full = losses(digits_dir, tmp_path / "full")
    low = losses(digits_dir, tmp_path / "low", f"precision={precision}")
    assert low == pytest.approx(full, rel=0.02)
    assert low != full


def test_channels_last_computes_the_same(digits_dir: Path, tmp_path: Path) -> None:
    plain = losses(digits_dir, tmp_path / "plain")
    last = losses(digits_dir, tmp_path / "last", "task.model.memory_format=channels_last")
    assert last[:5] == pytest.approx(plain[:5], rel=1e-4)


def test_the_average_is_what_gets_evaluated_and_kept(digits_dir: Path, tmp_path: Path) -> None:
    words = ("epochs=1", "ema_decay=0.5")
    train(make_config(digits_dir, tmp_path / "run", *words), never_stop())
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    checkpoint = store.load(store.resolve("last"))
    raw = checkpoint.state["raw_weights"]
    assert raw.keys() == checkpoint.weights.keys()
    assert any(not torch.equal(raw[name], checkpoint.weights[name]) for name in raw)


def test_retention_keeps_last_regular_and_best(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    for step in range(1, 11):
        store.save(step, {"w": torch.zeros(1)}, {}, {})
        store.prune(keep_last=2, keep_every=4, best_step=3 if step >= 3 else None)
    assert store.steps() == [3, 4, 8, 9, 10]
    assert store.resolve("last") == 10


def test_the_newest_valid_checkpoint_wins(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    for step in (5, 10, 15):
        store.save(step, {"w": torch.full((1,), float(step))}, {}, {})
    (store.path(15) / "meta.json").write_text("{")
    (store.path(10) / "model.safetensors").write_bytes(b"")
    checkpoint, complaints = store.newest_valid()
    assert checkpoint is not None
    assert checkpoint.step == 5
    assert len(complaints) == 2
    assert store.steps() == [5]


def test_checkpoints_never_unpickle_objects(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    store.save(1, {"w": torch.zeros(1)}, {"harmful": Path("x")}, {})
    with pytest.raises(ValueError, match="damaged"):
        store.load(1)


def test_logged_numbers_are_finite_and_grouped(digits_dir: Path, tmp_path: Path) -> None:
    train(make_config(digits_dir, tmp_path / "run", "epochs=1"), never_stop())
    from pipeline.run_files.reading import read_metrics

    for line in read_metrics(tmp_path / "run" / "metrics.jsonl"):
        assert {"step", "epoch", "split"} <= line.keys()
        if line["split"] == "train":
            assert {"speed/samples_per_second", "speed/data_wait_share"} <= line.keys()
            assert 0 <= line["speed/data_wait_share"] <= 1
        assert all(math.isfinite(v) for v in line.values() if isinstance(v, float))
