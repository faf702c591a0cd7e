"""Protects the short runs that tell whether a real one would work."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.programs import call
from helpers.training import make_config, never_stop

from orbit.core.store.reader import PairStore
from pipeline.data.batches import EvaluationBatches, TrainBatches, make_train_order
from pipeline.data.loader import Loader, LoaderConfig
from pipeline.run_files.reading import read_metrics
from pipeline.training.debugging import FirstBatches, shortened
from pipeline.training.run import train
from pipeline.training.settings import DebugConfig

PROGRAM = "pipeline/train.py"
CPU = torch.device("cpu")


def words(data: Path, run_dir: Path, *more: str) -> list[str]:
    small = ["experiment=rotated_digits", "task.model.width=8", "compile=false"]
    return [*small, f"data={data}", f"run_dir={run_dir}", *more]


def test_one_batch_is_seen_again_and_again(digits_dir: Path) -> None:
    """Also where a read brings several steps, and by validation."""
    reader = PairStore(digits_dir).split("train")
    order = make_train_order(reader, "online", 0, 16, "drop")
    training = TrainBatches(reader, order, "online", 0, 1)
    validation = EvaluationBatches(PairStore(digits_dir).split("val"), 16, 0, 1)
    batches, same = shortened(DebugConfig(single_batch=True), training, validation)
    assert same is batches
    wanted = reader.read(training.records(0))
    for batch in Loader(batches, 3, 40, CPU, LoaderConfig()):
        assert np.array_equal(batch.source.numpy(), wanted.source)
        assert np.array_equal(batch.action.numpy(), wanted.action)
        assert batch.valid.sum() == 16


def test_few_batches_begin_again(digits_dir: Path) -> None:
    validation = EvaluationBatches(PairStore(digits_dir).split("val"), 16, 0, 1)
    few = FirstBatches(validation, 2)
    actions = [batch.action.flatten().tolist() for batch in Loader(few, 0, 6, CPU, LoaderConfig())]
    all_actions = [
        batch.action.flatten().tolist() for batch in Loader(validation, 0, 2, CPU, LoaderConfig())
    ]
    assert actions == all_actions * 3
    _, unlimited = shortened(DebugConfig(num_evaluation_batches=99), few, validation)
    assert unlimited.num_steps == validation.num_steps


def test_nothing_changes_without_debug(digits_dir: Path) -> None:
    reader = PairStore(digits_dir).split("train")
    order = make_train_order(reader, "online", 0, 16, "drop")
    training = TrainBatches(reader, order, "online", 0, 1)
    validation = EvaluationBatches(PairStore(digits_dir).split("val"), 16, 0, 1)
    assert shortened(DebugConfig(), training, validation) == (training, validation)


def test_overfitting_learns_its_batch(digits_dir: Path, tmp_path: Path) -> None:
    given = ("debug=overfit", "task.model.width=16", "debug.num_steps=120", "global_batch=8")
    config = make_config(digits_dir, tmp_path / "run", *given)
    assert config.resume == "never"
    result = train(config, never_stop())
    assert result["step"] == 120
    lines = read_metrics(tmp_path / "run/metrics.jsonl")
    first = next(line for line in lines if line["split"] == "train")
    assert result["metrics"]["loss/recon"] < first["loss/recon"] / 5
    assert result["metrics"]["psnr"] > 18


def test_fast_goes_through_everything(digits_dir: Path, tmp_path: Path) -> None:
    given = words(digits_dir, tmp_path / "run", "debug=fast")
    outcome = call(PROGRAM, *given)
    assert outcome.code == 0, outcome.err
    made = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"checkpoints", "evaluations", "pictures", "orbits.png", "result.json"} <= made
    (file,) = (tmp_path / "run/evaluations").glob("step_*.json")
    evaluation = json.loads(file.read_text())
    assert evaluation["step"] == 2
    assert evaluation["num_batches"] == 1
    again = call(PROGRAM, *given)
    assert "already holds a run and resume=never" in again.error_line


def test_a_profile_is_written(digits_dir: Path, tmp_path: Path) -> None:
    outcome = call(PROGRAM, *words(digits_dir, tmp_path / "run", "debug=profile", "global_batch=8"))
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "run/profile"
    assert str(folder) in outcome.out
    trace = json.loads(gzip.decompress((folder / "trace_rank0.json.gz").read_bytes()))
    names = [event.get("name", "") for event in trace["traceEvents"]]
    assert len({name for name in names if name.startswith("ProfilerStep#")}) == 10
    assert sum(name == "wait for data" for name in names) >= 10
    assert any("convolution" in name for name in names)
    assert "convolution" in (folder / "summary_rank0.txt").read_text()


@pytest.mark.gpu
def test_a_profile_on_a_gpu_has_its_memory(digits_dir: Path, tmp_path: Path) -> None:
    call(PROGRAM, *words(digits_dir, tmp_path / "run", "debug=profile", "device=cuda"))
    assert (tmp_path / "run/profile/memory_rank0.pickle").stat().st_size > 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_steps": 0}, "num_steps=0 must be at least 1"),
        ({"profile_after": 3}, "no effect without profile_steps"),
        ({"num_steps": 20, "profile_steps": 10}, "must be above profile_after"),
        ({"single_batch": True, "num_evaluation_batches": 1}, "validates on one"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DebugConfig(**settings)  # type: ignore[arg-type]
