"""World models train, stop and go on, on one rank and on two."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.noise_worlds import WORLDS, NoiseWorld
from helpers.preparing import prepare
from helpers.programs import REPOSITORY
from helpers.training import StopAfter, final_weights, never_stop, reproducible_lines
from helpers.waiting import PATIENCE_S
from helpers.world_training import make_config

from data_prep.building.builder import build_dataset
from orbit.core.config.program import EXIT_STOPPED, ExitWithCode
from orbit.core.store.reader import PairStore
from pipeline.arithmetic import prepare_compiler
from pipeline.data.packing import Batch
from pipeline.methods.table import make_task
from pipeline.runs import load_run
from pipeline.training.run import train

pytestmark = pytest.mark.usefixtures("starts_are_warm")

NUM_STEPS = 20


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("noise")
    for world in WORLDS:
        build_dataset(NoiseWorld(world), folder / world)
    return {**{world: folder / world for world in WORLDS}, "vae": folder / "teapot"}


def lines(run_dir: Path, split: str) -> list[dict[str, float]]:
    return [line for line in reproducible_lines(run_dir) if line["split"] == split]


MODELS = {
    "grid ours": ("grid", ()),
    "grid full": ("grid", ("task.model.kind=full",)),
    "grid none": ("grid", ("task.model.kind=none",)),
    "headings ours": ("grid", ("task.model.directions=relative",)),
    "pixels full": ("grid", ("task.model.kind=full", "task.model.view=pixels")),
    "pixels ours": ("grid", ("task.model.view=pixels", "task.model.pool=2")),
    "reacher ours": ("reacher", ()),
    "reacher full": ("reacher", ("task.model.kind=full", "task.model.channels=2")),
    "reacher none": ("reacher", ("task.model.kind=none",)),
    "teapot ours": ("teapot", ()),
    "teapot none": ("teapot", ("task.model.kind=none", "task.model.transition_hidden=16")),
    "vae": ("vae", ()),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_learns_a_little(datasets: dict[str, Path], tmp_path: Path, name: str) -> None:
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
        ("vae", ()),
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


@pytest.mark.parametrize("model", ["grid", "reacher", "teapot"])
def test_low_precision_learns_alike(datasets: dict[str, Path], tmp_path: Path, model: str) -> None:
    found = {}
    for precision in ("fp32", "bf16", "fp16"):
        words = (f"precision={precision}", "epochs=1")
        train(make_config(model, datasets[model], tmp_path / precision, *words), never_stop())
        found[precision] = [line["loss/total"] for line in lines(tmp_path / precision, "train")]
    assert len({tuple(losses) for losses in found.values()}) == 3
    for precision in ("bf16", "fp16"):
        # Later ones differ: fp16 skips its first steps until the gradients fit.
        assert found[precision][0] == pytest.approx(found["fp32"][0], rel=0.05)


@pytest.mark.parametrize("name", ["grid ours", "reacher full", "teapot none", "vae"])
def test_one_graph_holds_the_whole_step(datasets: dict[str, Path], name: str) -> None:
    """torch.compile sees everything but the drawing of noise, and computes the same."""
    model, words = MODELS[name]
    config = make_config(model, datasets[model], Path("-"), *words)
    store = PairStore(datasets[model])
    task = make_task(config.task, store.manifest, 0, torch.device("cpu"))
    records = store.split("train").read(np.arange(8))
    batch = Batch(*map(torch.from_numpy, records), torch.ones(8))
    plain, terms = task.objective(*batch)
    torch.compiler.reset()
    prepare_compiler()
    compiled = torch.compile(task.objective, backend="eager", fullgraph=model != "vae")
    loss, compiled_terms = compiled(*batch)
    loss.backward()
    torch.testing.assert_close(loss, plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(compiled_terms, terms, rtol=1e-5, atol=1e-5)


def test_gradient_accumulation_is_refused(datasets: dict[str, Path], tmp_path: Path) -> None:
    config = make_config("grid", datasets["grid"], tmp_path / "run", "accumulation=2")
    with pytest.raises(ValueError, match=r"accumulation=2 would change the loss.*allowed: 1"):
        train(config, never_stop())


def test_latents_that_agree_stop_the_run(datasets: dict[str, Path], tmp_path: Path) -> None:
    """Without a gradient to move them apart, latents of one kind stay so."""
    words = ("optimizer.learning_rate=1e-12", "collapse.after_steps=5", "task.loss.hinge=1000")
    with pytest.raises(ExitWithCode, match="latents have collapsed"):
        train(make_config("grid", datasets["grid"], tmp_path / "run", *words), never_stop())


@pytest.mark.parametrize(
    ("model", "words", "num_steps", "of_validation"),
    [
        ("grid", ("epochs=5",), 50, 1e-2),
        ("reacher", ("epochs=1", "task.model.kind=full", "task.model.channels=2"), 10, 5e-2),
        ("vae", ("epochs=1",), 10, 1e-2),
    ],
)
def test_two_ranks_lose_what_one_does(
    datasets: dict[str, Path],
    tmp_path: Path,
    model: str,
    words: tuple[str, ...],
    num_steps: int,
    of_validation: float,
) -> None:
    """Of validation only roughly: Adam moves biases that batch norm cancels by rounding alone,
    and running means lag behind them."""
    one, two = tmp_path / "one", tmp_path / "two"
    train(make_config(model, datasets[model], one, *words), never_stop())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", str(REPOSITORY / "pipeline/train.py")]
    command += ["config=" + str(one / "config.yaml"), f"run_dir={two}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    found = {
        (run_dir.name, split): [line["loss/total"] for line in lines(run_dir, split)]
        for run_dir in (one, two)
        for split in ("train", "val")
    }
    assert len(found["one", "train"]) == num_steps
    assert found["two", "train"] == pytest.approx(found["one", "train"], rel=1e-5)
    assert found["two", "val"] == pytest.approx(found["one", "val"], rel=of_validation)


def test_another_group_is_refused(datasets: dict[str, Path], tmp_path: Path) -> None:
    config = make_config("grid", datasets["teapot"], tmp_path / "run")
    with pytest.raises(ValueError, match=r"task.model.name=grid is for the group c4, not so3"):
        train(config, never_stop())


@pytest.mark.parametrize(
    ("world", "experiment"), [("rush_hour", "shapes_2d"), ("shapes_2d", "rush_hour")]
)
def test_directions_that_mean_something_else_are_refused(
    tmp_path: Path, world: str, experiment: str
) -> None:
    words = ("num_episodes=4", "episode_length=2", "dataset.num_test_episodes=1")
    prepare(tmp_path / "data", f"dataset={world}", *words)
    config = make_config("grid", tmp_path / "data", tmp_path / "run", f"experiment={experiment}")
    with pytest.raises(ValueError, match=rf"wrong for the dataset {world}; allowed: "):
        train(config, never_stop())
