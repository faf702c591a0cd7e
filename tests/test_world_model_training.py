"""World models train, stop and go on, on one rank and on two."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.noise_worlds import WORLDS, NoiseWorld
from helpers.programs import REPOSITORY
from helpers.training import StopAfter, final_weights, never_stop, reproducible_lines
from helpers.world_training import TINY, make_config

from data_prep.store.builder import build_dataset
from pipeline.config.program import EXIT_STOPPED, ExitWithCode
from pipeline.runs import load_run
from pipeline.training.run import train

VAE = ("experiment=teapot/homeomorphic_vae", "task.model.channels=[4,8]")
VAE += ("task.model.decoder_channels=8", "task.model.max_degree=2")
NUM_STEPS = 20


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("noise")
    for world in WORLDS:
        build_dataset(NoiseWorld(world), folder / world)
    return {world: folder / world for world in WORLDS}


def lines(run_dir: Path, split: str) -> list[dict[str, float]]:
    return [line for line in reproducible_lines(run_dir) if line["split"] == split]


MODELS = {
    "grid ours": ("grid", ()),
    "grid full": ("grid", ("experiment=shapes_2d/full",)),
    "grid none": ("grid", ("task.model.kind=none",)),
    "headings ours": ("grid", ("task.model.directions=relative",)),
    "pixels full": ("grid", ("task.model.kind=full", "task.model.view=pixels")),
    "pixels ours": ("grid", ("task.model.view=pixels", "task.model.pool=2")),
    "reacher ours": ("reacher", ()),
    "reacher full": ("reacher", ("task.model.kind=full", "task.model.channels=2")),
    "reacher none": ("reacher", ("task.model.kind=none",)),
    "teapot ours": ("teapot", ()),
    "teapot none": ("teapot", ("task.model.kind=none", "task.model.transition_hidden=16")),
    "vae": ("teapot", VAE),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_learns_a_little(
    datasets: dict[str, Path], tmp_path: Path, name: str
) -> None:
    """The loss on the training records falls; the checkpoint can be loaded and evaluated."""
    world, words = MODELS[name]
    config = make_config(world, datasets[world], tmp_path / "run", *words, "epochs=3")
    train(config, never_stop())
    losses = [line["loss/total"] for line in lines(tmp_path / "run", "train")]
    assert sum(losses[-5:]) < sum(losses[:5])
    run = load_run(tmp_path / "run")
    assert not run.model.training
    found = lines(tmp_path / "run", "val")[-1]
    assert 0 <= found["hits_at_1"] <= 1


def assert_same(first: Path, second: Path) -> None:
    assert final_weights(first) == final_weights(second)
    assert reproducible_lines(first) == reproducible_lines(second)
    assert (first / "result.json").read_bytes() == (second / "result.json").read_bytes()


@pytest.mark.parametrize(
    ("world", "words"),
    [
        ("grid", ("ema_decay=0.9", "task.loss.num_negatives=3")),
        ("reacher", ("precision=bf16", "task.model.kind=none")),
        ("teapot", VAE),
    ],
)
def test_a_stop_leaves_no_trace(
    datasets: dict[str, Path], tmp_path: Path, world: str, words: tuple[str, ...]
) -> None:
    whole, cut = (
        make_config(world, datasets[world], tmp_path / name, *words) for name in ("whole", "cut")
    )
    train(whole, never_stop())
    for num_steps in (3, 9):
        with pytest.raises(ExitWithCode) as stopped:
            train(cut, StopAfter(num_steps))
        assert stopped.value.code == EXIT_STOPPED
    train(cut, never_stop())
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_validation_leaves_no_trace(datasets: dict[str, Path], tmp_path: Path) -> None:
    """Running statistics are those of training batches, however often one looks."""
    for name, every in (("often", 1), ("once", NUM_STEPS)):
        words = (f"validate_every={every}", "task.model.kind=none")
        train(make_config("grid", datasets["grid"], tmp_path / name, *words), never_stop())
    assert final_weights(tmp_path / "often") == final_weights(tmp_path / "once")


def test_running_statistics_see_current_and_next_states(
    datasets: dict[str, Path], tmp_path: Path
) -> None:
    words = ("task.model.kind=none", "ema_decay=0.5")
    train(make_config("grid", datasets["grid"], tmp_path / "run", *words), never_stop())
    weights = load_run(tmp_path / "run", "last").model.state_dict()
    counts = {weights[name].item() for name in weights if name.endswith("num_batches_tracked")}
    assert counts == {2 * NUM_STEPS}


def test_low_precision_and_compilation_learn_alike(
    datasets: dict[str, Path], tmp_path: Path
) -> None:
    found = {}
    for name, words in {
        "plain": (),
        "bf16": ("precision=bf16",),
        "fp16": ("precision=fp16",),
        "compiled": ("compile=true",),
    }.items():
        config = make_config("grid", datasets["grid"], tmp_path / name, *words, "epochs=1")
        train(config, never_stop())
        found[name] = [line["loss/total"] for line in lines(tmp_path / name, "train")]
    assert found["bf16"] == pytest.approx(found["plain"], rel=0.05)
    assert found["fp16"] == pytest.approx(found["plain"], rel=0.02)
    assert found["compiled"] == pytest.approx(found["plain"], rel=1e-3)
    assert len({tuple(losses) for losses in found.values()}) == 4


def test_gradient_accumulation_is_refused(datasets: dict[str, Path], tmp_path: Path) -> None:
    config = make_config("grid", datasets["grid"], tmp_path / "run", "accumulation=2")
    with pytest.raises(ValueError, match=r"accumulation=2 would change the loss.*allowed: 1"):
        train(config, never_stop())


def test_latents_that_agree_stop_the_run(datasets: dict[str, Path], tmp_path: Path) -> None:
    """Without a gradient to move them apart, latents of one kind stay so."""
    words = ("optimizer.learning_rate=1e-12", "collapse.after_steps=5", "task.loss.hinge=1000")
    with pytest.raises(ExitWithCode, match="latents have collapsed"):
        train(make_config("grid", datasets["grid"], tmp_path / "run", *words), never_stop())


@pytest.mark.parametrize("world", ["grid", "reacher"])
def test_two_ranks_lose_what_one_does(
    datasets: dict[str, Path], tmp_path: Path, world: str
) -> None:
    words = ["epochs=2", "global_batch=8", "log_every=1", "precision=fp32", "compile=false"]
    losses = {}
    for num_ranks in (1, 2):
        run_dir = tmp_path / f"ranks_{num_ranks}"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc-per-node={num_ranks}", str(REPOSITORY / "pipeline/train.py")]
        command += [*TINY[world], *words, f"data={datasets[world]}", f"run_dir={run_dir}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        losses[num_ranks] = {
            split: [line["loss/total"] for line in lines(run_dir, split)]
            for split in ("train", "val")
        }
    assert losses[2]["train"] == pytest.approx(losses[1]["train"], rel=1e-5)
    assert losses[2]["val"] == pytest.approx(losses[1]["val"], rel=1e-5)


def test_another_group_is_refused(datasets: dict[str, Path], tmp_path: Path) -> None:
    config = make_config("grid", datasets["teapot"], tmp_path / "run")
    with pytest.raises(ValueError, match=r"task.model.name=grid is for the group c4, not so3"):
        train(config, never_stop())
