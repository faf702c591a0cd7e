"""Protects pairs made while training (`pairs=fresh`): what is drawn, what is read, what is made.

Elements are a function of (seed, epoch, source), uniform over the whole group and the same
for any ranks and restarts. A target made on the device is the one that preparation stores.
Datasets of which parts stay, and training splits without targets, are refused by name.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.idx import write_mnist
from helpers.noise_images import NoiseSource, noise_recipe, orbit_config
from helpers.preparing import all_records, prepare, recipe_of
from helpers.training import StopAfter, final_weights, make_config, never_stop, reproducible_lines
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.building.builder import build_dataset
from data_prep.building.identity import describe
from data_prep.verification.datasets import verify_dataset
from orbit.core.config.program import ExitWithCode
from orbit.core.groups import make_group
from orbit.core.groups.targets import make_targets
from orbit.core.store.manifest import SPLITS
from orbit.core.store.reader import PairStore
from pipeline.data.batches import FreshTargets, TrainBatches, check_pairs, make_train_order
from pipeline.data.blocks import BlockOrder
from pipeline.data.loader import Loader, LoaderConfig
from pipeline.data.order import draw_uniforms
from pipeline.data.packing import Batch
from pipeline.evaluation.evaluate_run import evaluate_run
from pipeline.methods.table import make_task
from pipeline.settings import EvaluateConfig
from pipeline.training.run import train

CPU = torch.device("cpu")
GROUPS = {
    "c4": (3, 12, 12),
    "d4": (1, 9, 9),
    "octahedral": (1, 7, 7, 7),
    "c4+wrap:8:2": (1, 8, 8),
    "so2": (1, 28, 28),
    "so3": (1, 12, 12, 12),
    "so2+shift:20:2": (1, 20, 20),
    "so3+shift:12:1": (1, 12, 12, 12),
}
"""Groups and a shape of frames that each acts on."""
BRIGHTEST = 255
Make = Callable[..., torch.Tensor]


class Shapes(NoiseSource):
    """The same noise, cut into shapes."""

    is_binary = True

    def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images, labels = super().read(part, indices)
        return np.where(images >= 128, np.uint8(255), np.uint8(0)), labels


def stored(out: Path, group: str, train_pairs: str, num_drawn: int = 3) -> PairStore:
    """Noise under a group; training pairs as given, the others drawn."""
    pairs = {"train_pairs": train_pairs, "val_pairs": "drawn", "test_pairs": "drawn"}
    source = Shapes if group == "so3" else NoiseSource
    recipe = noise_recipe(source(GROUPS[group]), group=group, num_drawn=num_drawn, **pairs)
    build_dataset(recipe, out)
    return PairStore(out)


def fresh_batches(
    store: PairStore, batch: int = 4, rank: int = 0, ranks: int = 1, tail: str = "carry"
) -> TrainBatches:
    reader = store.split("train")
    order = make_train_order(reader, "fresh", 7, batch, tail)
    return TrainBatches(reader, order, "fresh", rank, ranks, store.manifest.group)


def copies(batches: TrainBatches, first: int, last: int) -> list[Batch]:
    loader = Loader(batches, first, last, CPU, LoaderConfig())
    return [Batch(*(tensor.clone() for tensor in batch)) for batch in loader]


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**80),
    places=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**40)), min_size=1, max_size=20),
    num=st.integers(1, 6),
)
def test_numbers_belong_to_epoch_and_item_alone(
    seed: int, places: list[tuple[int, int]], num: int
) -> None:
    """Whatever else is drawn beside them, in any order, of data sets of any size."""
    epochs, items = (np.array(values) for values in zip(*places, strict=True))
    together = draw_uniforms(seed, epochs, items, num)
    assert together.shape == (len(places), num)
    alone = [draw_uniforms(seed, epochs[[i]], items[[i]], num)[0] for i in range(len(places))]
    assert np.array_equal(together, np.stack(alone))
    assert ((together >= 0) & (together < 1)).all()
    rows = {row.tobytes() for row in together}
    assert len(rows) == len(set(places))


def test_numbers_are_uniform_over_items_and_epochs() -> None:
    items, zeros = np.arange(20_000), np.zeros(20_000, np.int64)
    over_items = draw_uniforms(0, zeros, items, 3)
    over_epochs = draw_uniforms(0, np.arange(2000), zeros[:2000], 3)
    for drawn, names in ((over_items, "items"), (over_epochs, "epochs")):
        for column in drawn.T:
            counts = np.histogram(column, 20, (0, 1))[0]
            expected = len(drawn) / 20
            assert ((counts - expected) ** 2 / expected).sum() < 43.8, names  # p = 0.001
        bound = 5 / math.sqrt(len(drawn))
        off_diagonal = np.corrcoef(drawn, rowvar=False) - np.eye(3)
        assert np.abs(off_diagonal).max() < bound, names
        assert abs(np.corrcoef(drawn[1:, 0], drawn[:-1, 0])[0, 1]) < bound, names


@pytest.mark.parametrize("spec", GROUPS)
def test_an_action_vector_moves_a_frame_as_its_element_does(spec: str) -> None:
    """To the same bits, although `decode` would round the elements of a continuous group."""
    group, rng = make_group(spec), np.random.default_rng(0)
    images = torch.from_numpy(rng.random((50, *GROUPS[spec]), np.float32))
    g = group.sample(rng, 50)
    moved = group.act_by_vector(images, group.encode(g))
    assert torch.equal(moved, group.act_on_image(images, g))
    assert not torch.equal(moved, images)


@pytest.mark.parametrize("spec", GROUPS)
def test_targets_made_from_records_are_those_that_were_stored(spec: str, tmp_path: Path) -> None:
    store = stored(tmp_path / "out", spec, "drawn")
    records = all_records(store, "train")
    made = make_targets(
        make_group(spec),
        torch.from_numpy(records.source),
        torch.from_numpy(records.action),
        store.manifest.frames.values == "binary",
    )
    assert np.array_equal(made.numpy(), records.target)


def assert_made_alike(spec: str, make: Make, device: torch.device) -> None:
    """`make` on a device gives what preparation stores: bit for bit where values are moved;
    else within 1e-6 of the range before they are rounded, and within one level after."""
    group, rng = make_group(spec), np.random.default_rng(1)
    levels = torch.from_numpy(rng.integers(0, 256, (6, *GROUPS[spec]), np.uint8))
    action = group.encode(group.sample(rng, 6))
    for frames in (levels,) if group.is_exact else (levels, levels.float()):
        wanted = make_targets(group, frames, action, False)
        made = make(group, frames.to(device), action.to(device), False).cpu()
        assert made.dtype == frames.dtype
        if group.is_exact:
            assert torch.equal(made, wanted)
        else:
            bound = 1 if frames is levels else 1e-6 * BRIGHTEST
            assert (made.double() - wanted.double()).abs().max() <= bound


@pytest.mark.parametrize("spec", ["octahedral", "so2", "so3"])
def test_a_compiled_step_makes_the_targets_that_are_stored(spec: str) -> None:
    """In one graph, with the formulas by which the compiler replaces operations."""
    torch.compiler.reset()
    compiled = torch.compile(
        make_targets, backend="aot_eager_decomp_partition", fullgraph=True, dynamic=False
    )
    assert_made_alike(spec, compiled, CPU)


@pytest.mark.gpu
@pytest.mark.parametrize("is_compiled", [False, True])
@pytest.mark.parametrize("spec", GROUPS)
def test_a_gpu_makes_the_targets_that_are_stored(spec: str, is_compiled: bool) -> None:
    torch.compiler.reset()
    make = torch.compile(make_targets, fullgraph=True) if is_compiled else make_targets
    assert_made_alike(spec, make, torch.device("cuda"))


@pytest.mark.parametrize("spec", GROUPS)
@pytest.mark.parametrize("train_pairs", ["drawn", "sources"])
def test_an_epoch_takes_each_source_once_with_an_element_of_the_whole_group(
    spec: str, train_pairs: str, tmp_path: Path
) -> None:
    store = stored(tmp_path / "out", spec, train_pairs)
    batches, group = fresh_batches(store, tail="drop"), make_group(spec)
    records, per_source = all_records(store, "train"), 3 if train_pairs == "drawn" else 1
    assert batches.order.num_items == len(records.source) // per_source == 12
    drawn = []
    for epoch in range(2):
        read = copies(batches, 3 * epoch, 3 * epoch + 3)
        assert all(batch.target.shape == (4, 0) for batch in read)
        source, action, label = (
            torch.cat([getattr(batch, name) for batch in read]).numpy()
            for name in ("source", "action", "label")
        )
        chosen = np.concatenate([batches.records(step) for step in range(3 * epoch, 3 * epoch + 3)])
        assert np.array_equal(np.sort(chosen), np.arange(12) * per_source)
        assert np.array_equal(source, records.source[chosen])
        assert np.array_equal(label, records.label[chosen])
        elements = group.decode(torch.from_numpy(action))
        assert torch.allclose(group.encode(elements), torch.from_numpy(action), atol=1e-6)
        drawn += action[np.argsort(chosen)].tolist()
    # Another epoch draws anew.
    assert drawn[:12] != drawn[12:]


def test_draws_do_not_depend_on_ranks_or_on_where_they_begin(tmp_path: Path) -> None:
    store = stored(tmp_path / "out", "so2", "sources")
    whole = copies(fresh_batches(store, 6), 0, 7)
    for ranks in (2, 3):
        shares = [copies(fresh_batches(store, 6, rank, ranks), 0, 7) for rank in range(ranks)]
        for step, parts in enumerate(zip(*shares, strict=True)):
            joined = [torch.cat(tensors) for tensors in zip(*parts, strict=True)]
            assert all(map(torch.equal, joined, whole[step]))
    for begun, all_along in zip(copies(fresh_batches(store, 6), 4, 7), whole[4:], strict=True):
        assert all(map(torch.equal, begun, all_along))


def test_draws_are_those_of_the_source_in_any_order(tmp_path: Path) -> None:
    store = stored(tmp_path / "out", "so2", "sources")
    uniform = fresh_batches(store, tail="drop")
    blocks = dataclasses.replace(uniform, order=BlockOrder(7, 12, 4, "drop", 2, 3, 6))
    orders, drawn = [], []
    for batches in (uniform, blocks):
        steps = range(6)
        actions = [batches.actions(range(step, step + 1)) for step in steps]
        order = [(step // 3, record) for step in steps for record in batches.records(step)]
        orders.append(order)
        drawn.append(dict(zip(order, map(tuple, np.concatenate(actions)), strict=True)))
    assert orders[0] != orders[1]
    assert drawn[0] == drawn[1]


def test_an_objective_sees_what_it_would_have_read(digits_dir: Path, tmp_path: Path) -> None:
    """The loss and its gradients of fresh pairs are those of the same pairs, stored."""
    store = PairStore(digits_dir)
    config = make_config(digits_dir, tmp_path / "run")
    records = store.split("train").read(np.arange(12))
    batch = Batch(*map(torch.from_numpy, records), torch.ones(12))
    gradients, losses = [], []
    for is_fresh in (False, True):
        task = make_task(config.task, store.manifest, 0, CPU)
        fresh = FreshTargets(task.objective, store.manifest)
        given = batch._replace(target=batch.target.flatten(1)[:, :0])
        assert torch.equal(fresh.completed(given).target, batch.target)
        loss, _ = fresh(*given) if is_fresh else task.objective(*batch)
        loss.backward()
        losses.append(loss)
        gradients.append([weight.grad for weight in task.model.parameters()])
    assert torch.equal(*losses)
    pairs = [pair for pair in zip(*gradients, strict=True) if pair[0] is not None]
    assert pairs
    assert all(torch.equal(*pair) for pair in pairs)


def test_a_stopped_run_ends_as_one_that_was_left_alone(tmp_path: Path) -> None:
    """On sources alone, whose size is that of the images, from preparation to evaluation."""
    words = ("dataset=rotated_digits", "num_samples=200", "dataset.train_pairs=sources")
    store = prepare(tmp_path / "data", *words)
    assert store.manifest.split("train").num_frames == 140
    assert "140 records, sources only (for pairs=fresh), 140 frames" in describe(store.manifest)
    assert len(list(verify_dataset(store.root))) == len(SPLITS)
    words = (
        "pairs=fresh",
        "task.latent_losses=relative",
        "tail=carry",
        "epochs=5",
        "accumulation=2",
    )
    whole, cut = (make_config(store.root, tmp_path / name, *words) for name in ("whole", "cut"))
    train(whole, never_stop())
    with pytest.raises(ExitWithCode):
        train(cut, StopAfter(7))
    train(cut, never_stop())
    assert final_weights(tmp_path / "whole") == final_weights(tmp_path / "cut")
    lines = reproducible_lines(tmp_path / "whole")
    assert lines == reproducible_lines(tmp_path / "cut")
    assert lines[-1]["split"] == "val"
    for pairs in ("stored", "online"):
        with pytest.raises(ValueError, match=f"pairs={pairs} needs .*: set pairs=fresh"):
            train(make_config(store.root, tmp_path / "no", f"pairs={pairs}"), never_stop())
    with pytest.raises(ValueError, match=r"split=train needs .* sources only .*: set split=val"):
        evaluate_run(EvaluateConfig(str(tmp_path / "whole"), split="train"))


def test_a_batch_to_overfit_comes_with_its_targets(digits_dir: Path, tmp_path: Path) -> None:
    words = ("debug=overfit", "debug.num_steps=2", "pairs=fresh")
    train(make_config(digits_dir, tmp_path / "run", *words), never_stop())
    assert reproducible_lines(tmp_path / "run")[-1]["split"] == "val"


def test_what_has_parts_that_stay_is_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist", num_train=30, num_test=10)
    mnist = f"source.root={tmp_path / 'mnist'}"
    few = ("num_episodes=3", "episode_length=2")
    for name, words, reason in (
        (
            "blocked",
            ("dataset=rotated_blocked_mnist", mnist),
            "a block does not .*name=blocked",
        ),
        (
            "planes",
            ("dataset=planes", "source.size=24", "num_samples=9"),
            "background does not",
        ),
        ("world", ("dataset=shapes_2d", *few), "actions are those of the world shapes_2d"),
        ("labels", ("dataset=sequence_labelling", "num_samples=30"), "its targets are labels"),
    ):
        store = prepare(tmp_path / name, *words)
        with pytest.raises(ValueError, match=f"pairs=fresh moves whole frames, but .*{reason}"):
            check_pairs(store.manifest, "fresh")
        check_pairs(store.manifest, "stored")
    with pytest.raises(ValueError, match=r"train_pairs=sources .* scene.name=blocked has parts"):
        recipe_of("dataset=rotated_blocked_mnist", mnist, "dataset.train_pairs=sources", "out=o")


def test_elements_that_are_kept_for_evaluation_are_not_drawn(tmp_path: Path) -> None:
    recipe = noise_recipe(NoiseSource((1, 8, 8)), train_bins=("0", "90"))
    build_dataset(recipe, tmp_path / "out")
    with pytest.raises(ValueError, match=r"draws from all of c4, but .*train_bins=\['0', '90'\]"):
        check_pairs(PairStore(tmp_path / "out").manifest, "fresh")
    with pytest.raises(ValueError, match=r"train_bins=.* has no effect with train_pairs=sources"):
        orbit_config(train_pairs="sources", train_bins=("0", "90"))
