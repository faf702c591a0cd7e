"""Decoders draw latents of a frozen world model, and leave it frozen."""

import json
from pathlib import Path

import pytest
import torch
from helpers.noise_worlds import NoiseWorld
from helpers.programs import call
from helpers.training import (
    PATH_KEYS,
    StopAfter,
    final_weights,
    never_stop,
    reproducible_lines,
)
from helpers.world_models import frames
from helpers.world_training import make_config

from data_prep.building.builder import build_dataset
from orbit.core.config.compose import compose
from orbit.core.config.program import ExitWithCode
from orbit.core.config.schema import build
from pipeline.methods.decoder.settings import (
    DecoderSettings,
    MapsDecoderConfig,
    UpsamplingDecoderConfig,
)
from pipeline.methods.decoder.task import FrozenModelWithDecoder, make_decoder
from pipeline.runs import load_run
from pipeline.training.run import train
from pipeline.training.settings import TrainConfig

TINY = ("task.model.hidden=8", "task.model.maps=1", "task.model.channels=4")
TINY += ("epochs=3", "global_batch=16", "log_every=1")


@pytest.mark.parametrize(
    ("config", "latent", "frame", "num_parameters"),
    [
        (MapsDecoderConfig(), (5, 4, 2), (3, 50), 6_718_199),
        (UpsamplingDecoderConfig("upsampling"), (4, 8), (6, 129), 5_354_526),
        (UpsamplingDecoderConfig("upsampling", hidden=8, channels=4), (4,), (6, 65), None),
        (MapsDecoderConfig(hidden=8), (3, 3), (1, 64), None),
    ],
)
def test_decoders_have_the_released_sizes_and_make_frames(
    config: DecoderSettings,
    latent: tuple[int, ...],
    frame: tuple[int, int],
    num_parameters: int | None,
) -> None:
    spec = frames(*frame)
    decoder = make_decoder(config, latent, spec)
    assert decoder(torch.randn(2, *latent)).shape == (2, *spec.shape)
    if num_parameters is not None:
        assert sum(parameter.numel() for parameter in decoder.parameters()) == num_parameters


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dataset and a finished run of a world model on it."""
    folder = tmp_path_factory.mktemp("decoder")
    build_dataset(NoiseWorld("grid"), folder / "data")
    train(make_config("grid", folder / "data", folder / "run"), never_stop())
    return folder / "data", folder / "run"


def decoder_config(data: Path, frozen: Path, run_dir: Path, *words: str) -> TrainConfig:
    given = ["experiment=decoder/maps", f"data={data}", f"task.run={frozen}", f"run_dir={run_dir}"]
    return build(TrainConfig, compose("train", [*given, *TINY, *words], PATH_KEYS))


def test_training_leaves_the_world_model_as_it_was(
    world: tuple[Path, Path], tmp_path: Path
) -> None:
    data, frozen = world
    train(decoder_config(data, frozen, tmp_path / "run", "validate_every=2"), never_stop())
    lines = [line for line in reproducible_lines(tmp_path / "run") if line["split"] == "train"]
    assert lines[-1]["loss/total"] < lines[0]["loss/total"]
    strip = json.loads((tmp_path / "run/pictures/training/frames.json").read_text())
    assert strip["rows"] == ["frame", "drawn from z", "next frame", "drawn from T(z, a)"]
    model = load_run(tmp_path / "run", "last").model
    assert isinstance(model, FrozenModelWithDecoder)
    before = load_run(frozen).model.state_dict()
    after = model.world_model.state_dict()
    assert before.keys() == after.keys()
    for name in before:
        assert torch.equal(before[name], after[name]), name
    model.train()
    assert model.decoder.training
    assert not model.world_model.training
    # The run keeps what it learned from, and hands it on.
    file = tmp_path / "run/config.yaml"
    file.write_text(file.read_text().replace(str(frozen), str(tmp_path / "gone")))
    assert call("pipeline/share.py", str(tmp_path / "run"), f"out={tmp_path / 'on'}").code == 0
    for text in (tmp_path / "on").rglob("*.yaml"):
        assert str(tmp_path.parent) not in text.read_text()
    assert (tmp_path / "on/task_run/config.yaml").is_file()
    (tmp_path / "task_run").mkdir()  # another folder of the name that is left of the path
    for folder in (tmp_path / "run", tmp_path / "on"):
        found = load_run(folder).model.state_dict()
        wanted = load_run(tmp_path / "run", "best").model.state_dict()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_stop_leaves_no_trace(world: tuple[Path, Path], tmp_path: Path) -> None:
    data, frozen = world
    train(decoder_config(data, frozen, tmp_path / "whole"), never_stop())
    with pytest.raises(ExitWithCode):
        train(decoder_config(data, frozen, tmp_path / "cut"), StopAfter(4))
    train(decoder_config(data, frozen, tmp_path / "cut"), never_stop())
    assert final_weights(tmp_path / "whole") == final_weights(tmp_path / "cut")


def test_runs_that_hold_no_world_model_are_refused(
    world: tuple[Path, Path], tmp_path: Path
) -> None:
    data, frozen = world
    with pytest.raises(FileNotFoundError, match=r"config\.yaml is missing"):
        train(decoder_config(data, tmp_path / "nowhere", tmp_path / "run"), never_stop())
    train(decoder_config(data, frozen, tmp_path / "first", "epochs=1"), never_stop())
    with pytest.raises(ValueError, match=r"is a run of task\.name=decoder, not a world model"):
        train(decoder_config(data, tmp_path / "first", tmp_path / "second"), never_stop())
