"""Protects the latent operator: the group acts on the latent, and poses are inferred as told.

A fixed operator must be the cyclic group, bit for bit; losses must be those of the formulas; votes
those of a plain loop; nothing of unseen poses may choose a checkpoint.
"""

import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.idx import write_mnist
from helpers.preparing import prepare
from torch.nn.functional import cross_entropy

from orbit.core.groups import make_group
from orbit.core.store.manifest import FrameSpec
from orbit.core.store.reader import PairStore
from orbit.testing import check_evaluation, check_resume
from pipeline.data.packing import Batch
from pipeline.measuring import Subject
from pipeline.methods.latent_operator.measures import count_hits, references
from pipeline.methods.latent_operator.method import METHOD
from pipeline.methods.latent_operator.settings import LatentOperatorConfig
from pipeline.methods.latent_operator.task import (
    LatentOperatorEvaluation,
    LatentOperatorModel,
    LatentOperatorObjective,
    LatentOperatorTask,
    LearnedOperator,
    powers_of_generator,
)

FRAMES = FrameSpec((3, 8, 8), "uint8", (0.0, 255.0), (-1.0, 1.0))
SEEN = ("0", "36", "72", "288", "324")
CPU = torch.device("cpu")


def make_model(group: str = "turns:10", size: int = 20, **settings: object) -> LatentOperatorModel:
    config = LatentOperatorConfig("latent_operator", latent_size=size, num_classes=9, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LatentOperatorModel(config, make_group(group), FRAMES, SEEN)


def some_batch(num: int = 12) -> Batch:
    rng, group = np.random.default_rng(0), make_group("turns:10")
    source, target = (
        torch.from_numpy(rng.integers(0, 256, (num, *FRAMES.shape), np.uint8)) for _ in range(2)
    )
    g = torch.arange(num) % 10
    label = torch.from_numpy(rng.integers(0, 9, num))
    return Batch(source, target, group.encode(g), label, torch.ones(num))


@pytest.mark.parametrize("spec", ["c4", "turns:10", "turns:7", "wrap1d:28:2"])
def test_the_fixed_operator_is_the_cyclic_group(spec: str) -> None:
    group = make_group(spec)
    elements, num = group.elements(), group.num_elements
    assert num is not None
    model = make_model(spec, 3 * num)
    g, h = elements.repeat_interleave(num), elements.repeat(num)
    latent = torch.randn(num * num, 3 * num)
    moved = model.act(latent, group.compose(g, h))
    assert torch.equal(model.act(model.act(latent, h), g), moved)
    assert torch.equal(model.act(model.act(latent, g), h), moved)
    assert torch.equal(model.act(latent, group.identity(num * num)), latent)
    assert torch.equal(moved.sort(1).values, latent.sort(1).values)
    assert not torch.equal(model.act(latent[:1], elements[1:2]), latent[:1])


def test_powers_count_from_a_generator() -> None:
    assert powers_of_generator(make_group("turns:6")).tolist() == list(range(6))
    for spec in ("d4", "octahedral", "so2", "wrap2d:8:4"):
        with pytest.raises(ValueError, match=rf"needs a cyclic group.*not {spec}.*turns:NUM"):
            powers_of_generator(make_group(spec))
    with pytest.raises(ValueError, match=r"latent_size=25 must be a multiple of the 10 elements"):
        make_model(size=25)


@torch.no_grad()
def test_a_learned_operator_acts_by_its_powers() -> None:
    model = make_model(operator="learned", size=4)
    operator, group = model.operator, model.group
    assert isinstance(operator, LearnedOperator)
    matrix = operator.matrix
    assert torch.allclose(matrix @ matrix.T, torch.eye(4), atol=1e-5)
    latent = torch.randn(10, 4)
    moved = model.act(latent, group.elements())
    for k in range(10):
        wanted = torch.linalg.matrix_power(matrix, k) @ latent[k]
        assert torch.allclose(moved[k], wanted, atol=1e-5)
    back = model.at_rest(latent[:1], torch.tensor([3]))  # P^-3 is P^7
    assert torch.allclose(back[0], torch.linalg.matrix_power(matrix, 7) @ latent[0], atol=1e-5)
    (order,) = model.order_terms()
    whole = torch.linalg.matrix_power(matrix, 10) - torch.eye(4)
    assert order.item() == pytest.approx(whole.square().mean().item(), rel=1e-4)
    angles = torch.tensor([1.0, 3.0]) * math.tau / 10
    blocks = [torch.tensor([[a.cos(), -a.sin()], [a.sin(), a.cos()]]) for a in angles]
    operator.matrix.copy_(torch.block_diag(*blocks))
    assert model.order_terms()[0] < 1e-10
    both = model.act(model.act(latent, group.elements()), group.inverse(group.elements()))
    assert torch.allclose(both, latent, atol=1e-5)


@pytest.mark.parametrize("operator", ["fixed", "learned", "none"])
def test_losses_are_those_of_the_formulas(operator: str) -> None:
    model, batch = make_model(operator=operator, alignment=0.7), some_batch()
    source, target = (
        (frames.float() / 255).flatten(1) @ model.encoder.weight.T for frames in batch[:2]
    )
    moved = target.clone()
    for row, g in enumerate(model.group.decode(batch.action).tolist()):
        for _ in range(-g % 10):
            if operator == "fixed":
                moved[row] = moved[row].view(2, 10).roll(-1, 1).flatten()
            elif isinstance(model.operator, LearnedOperator):
                moved[row] = model.operator.matrix @ moved[row]
    wanted = [(moved - source).square().mean(), cross_entropy(model.classifier(moved), batch.label)]
    wanted += model.order_terms()
    total = 0.7 * wanted[0] + sum(wanted[1:])
    loss, terms = LatentOperatorObjective(model)(*batch)
    assert torch.allclose(terms, torch.stack([total, *wanted]), rtol=1e-4)
    assert torch.allclose(loss, total, rtol=1e-4)
    assert loss.requires_grad
    assert not terms.requires_grad


RELEASED = {
    "fixed": (2.425264299, 1.32844273, 0.0212038148, 0.0760019001, 0.279670687, 0.1233117),
    "learned": (2.616548816, 0.477105419, 0.117937922, 0.0760726012, 0.280501223, 0.123489937),
    "none": (2.441019523, 0.418581945, 0.117673988, 0.0760703903, 0.280364224, 0.123483852),
}
"""What the authors' code finds: the loss, and norms of the gradients of encoder and classifier."""
RELEASED_OPERATOR = 2.59741759


@pytest.mark.parametrize("operator", list(RELEASED))
def test_loss_and_gradients_are_those_of_the_released_code(operator: str) -> None:
    """On the same weights and frames; see docs/peers.md for what was mended there."""

    def waves(shape: torch.Size, size: float) -> torch.Tensor:
        numbers = torch.arange(shape.numel(), dtype=torch.float64)
        return ((numbers * 0.7 + size).sin() * size).view(shape)

    model, rows = make_model(operator=operator, hidden=20), torch.arange(12)
    layers = [model.encoder.weight, *model.classifier.parameters()]
    with torch.no_grad():
        for place, weights in enumerate(layers):
            weights.copy_(waves(weights.shape, (place + 1) / 10))
        if isinstance(model.operator, LearnedOperator):
            matrix = model.operator.matrix
            matrix.copy_(torch.eye(20) + waves(matrix.shape, 0.05))
    source, target = (
        (torch.arange(12 * 192) * step % 256).to(torch.uint8).view(12, *FRAMES.shape)
        for step in (7, 11)
    )
    action = model.group.encode(rows % 10)
    loss, _ = LatentOperatorObjective(model)(source, target, action, rows % 9, torch.ones(12))
    loss.backward()
    found = [loss.item(), *(weights.grad.norm().item() for weights in layers)]
    assert found == pytest.approx(RELEASED[operator], rel=1e-4)
    if isinstance(model.operator, LearnedOperator):
        assert model.operator.matrix.grad.norm().item() == pytest.approx(
            RELEASED_OPERATOR, rel=1e-4
        )


@torch.no_grad()
def test_only_poses_of_training_choose_a_checkpoint() -> None:
    """Unseen ones change the accuracy, and no loss; neither does padding."""
    model, batch = make_model(), some_batch(20)
    g = model.group.decode(batch.action)
    unseen = torch.isin(g, torch.arange(3, 8))
    found = []
    for noise in (0, 77):
        changed = torch.where(unseen.view(-1, 1, 1, 1), noise, batch.target)
        evaluation = LatentOperatorEvaluation(model)
        evaluation.update(batch._replace(target=changed.to(torch.uint8)))
        padding = batch._replace(target=batch.target * 0, valid=torch.zeros(20))
        evaluation.update(padding)
        found.append(evaluation.metrics(evaluation.sums()))
    losses = [{k: v for k, v in each.items() if k.startswith("loss/")} for each in found]
    assert losses[0] == losses[1]
    seen = Batch(*(values[~unseen] for values in batch))
    terms = LatentOperatorObjective(model)(*seen)[1]
    assert list(losses[0].values()) == pytest.approx(terms.tolist(), rel=1e-5)
    logits = model.classifier(model.at_rest(model.latent(seen.target), g[~unseen]))
    hits = (logits.argmax(1) == seen.label).float().mean()
    assert found[0]["class_accuracy/seen_elements"] == pytest.approx(hits.item())
    parts = [found[0][f"class_accuracy/{which}_elements"] for which in ("seen", "unseen")]
    assert found[0]["class_accuracy"] == pytest.approx(sum(parts) / 2)
    by_element = [found[0][f"class_accuracy/{36 * k}"] for k in range(10)]
    assert found[0]["class_accuracy"] == pytest.approx(sum(by_element) / 10)


def test_what_cannot_be_learned_is_refused(tmp_path: Path) -> None:
    batch = some_batch()
    with pytest.raises(ValueError, match=r"task.num_classes=9, .* has the label 9"):
        LatentOperatorObjective(make_model())(*batch._replace(label=batch.label * 0 + 9))
    config = LatentOperatorConfig("latent_operator", "none")
    store = prepare(tmp_path / "all", "dataset=rotated_digits", "num_samples=12")
    with pytest.raises(ValueError, match=r"sources for images in pose e.*all_pairs.*allowed"):
        LatentOperatorTask(config, store.manifest, CPU)
    words = ("num_samples=4", "dataset.num_val_samples=2", "dataset.num_test_samples=2")
    store = prepare(tmp_path / "labels", "dataset=sequence_labelling", *words)
    with pytest.raises(ValueError, match=r"classifies views of images.*holds sequences"):
        LatentOperatorTask(config, store.manifest, CPU)
    with pytest.raises(ValueError, match=r"num_neighbours have no effect with operator=none"):
        LatentOperatorConfig("latent_operator", "none", num_neighbours=1)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    folder = tmp_path_factory.mktemp("board")
    write_mnist(folder / "mnist")
    root = f"source.root={folder / 'mnist'}"
    return prepare(folder / "data", "dataset=checkerboard_digits", root)


@torch.no_grad()
def test_votes_are_those_of_a_plain_loop(board: PairStore) -> None:
    config = LatentOperatorConfig("latent_operator", latent_size=20, num_references=11)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LatentOperatorTask(config, board.manifest, CPU).model.eval()
    run = SimpleNamespace(model=model, group=model.group, step=0)
    reader = board.split("test")
    subject = Subject(Path(), run, board.manifest, reader, "test", 7)
    known = references(subject, 11)
    assert known.shape == (11, 20)
    found = count_hits(subject, None)
    records = reader.read(np.arange(reader.num_records))
    latents = model.latent(torch.from_numpy(records.target))
    poses = model.group.decode(torch.from_numpy(records.action)).tolist()
    wanted = {name: np.zeros((2, 10)) for name in found}
    for latent, pose, label in zip(latents, poses, records.label, strict=True):
        back = [latent.view(2, 10).roll(k, 1).flatten() for k in range(10)]
        pairs = [((z - r).square().sum().item(), k) for k, z in enumerate(back) for r in known]
        nearest = [k for _, k in sorted(pairs)[:10]]
        votes = Counter(nearest)
        vote = max(nearest, key=lambda k: (votes[k], k == nearest[0]))
        hits = {
            "class_accuracy": model.classifier(back[pose]).argmax() == label,
            "class_accuracy_inferred": model.classifier(back[vote]).argmax() == label,
            "pose_hits": vote == pose,
        }
        for name, hit in hits.items():
            wanted[name][:, pose] += (1, bool(hit))
    # Where candidates have equally many votes, and none of them the nearest pair, any may count.
    for name, table in wanted.items():
        assert np.abs(table - found[name].numpy()).sum() <= 2, name
    assert np.array_equal(wanted["class_accuracy"], found["class_accuracy"].numpy())


def test_references_are_of_seen_poses_and_other_images(board: PairStore) -> None:
    """Every reference is a validation image in a pose of training, moved to pose e."""
    task = LatentOperatorTask(
        LatentOperatorConfig("latent_operator", num_references=10**6), board.manifest, CPU
    )
    model, reader = task.model, board.split("val")
    run = SimpleNamespace(model=model, group=model.group, step=0)
    subject = Subject(Path(), run, board.manifest, board.split("test"), "test", 64)
    with torch.no_grad():
        found = references(subject, 10**6)
        records = reader.read(np.arange(reader.num_records))
        g = model.group.decode(torch.from_numpy(records.action))
        chosen = torch.isin(g, torch.tensor([0, 1, 2, 8, 9]))
        latent = model.latent(torch.from_numpy(records.target))[chosen]
        assert torch.allclose(found, model.at_rest(latent, g[chosen]), atol=1e-6)


def test_a_stop_leaves_no_trace_and_batches_do_not_count(board: PairStore, tmp_path: Path) -> None:
    words = [
        *("experiment=checkerboard_digits", f"data={board.root}", "epochs=2"),
        *("task.operator=learned", "task.num_neighbours=1"),
        *("global_batch=16", "task.latent_size=12", "task.num_references=20", "compile=false"),
    ]
    check_resume(words, tmp_path)
    check_evaluation(tmp_path / "whole", (3, 64))


def test_a_latent_is_offered_with_its_action() -> None:
    assert METHOD.latents is not None
    model, batch = make_model(), some_batch()
    offered = METHOD.latents(model, None)
    parts = offered.encode(batch.source)
    assert offered.act is not None
    g = torch.arange(12) % 10
    assert torch.equal(offered.act(parts["z"], g), model.act(model.latent(batch.source), g))
    assert METHOD.latents(make_model(operator="none"), None).act is None
