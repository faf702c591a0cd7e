"""The contrastive loss, its negatives and its evaluation, against the formulas written out."""

from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from helpers.preparing import prepare
from helpers.ranks import run_on_ranks
from hypothesis import given
from torch import nn

from orbit.core.groups import make_group
from orbit.core.store.manifest import FrameSpec
from pipeline.data.packing import Batch
from pipeline.methods.world_model.contrastive import (
    TERM_NAMES,
    ContrastiveObjective,
    energy,
    negatives,
    object_energies,
    same_episode_places,
)
from pipeline.methods.world_model.final import ContrastiveEvaluation
from pipeline.methods.world_model.settings import ContrastiveConfig, WorldModelConfig
from pipeline.methods.world_model.task import WorldModelTask
from pipeline.world_models.settings import GridModelConfig, ReacherModelConfig
from pipeline.world_models.world_model import WorldModel

pytestmark = pytest.mark.usefixtures("starts_are_warm")

FRAMES = FrameSpec((2, 4, 4), "uint8", (0.0, 255.0), (0.0, 1.0))
NUM_OBJECTS = 3
NUM_RECORDS = 12


class Step(nn.Module):
    """T(z, a) = z + a, the same for all objects."""

    def forward(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return latent + action[:, None, :]


def make_model() -> WorldModel:
    """Linear: two numbers each for three objects."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(32, 6), nn.Unflatten(1, (3, 2)))
    return WorldModel(
        make_group("c4"), FRAMES, nn.Identity(), encoder, Step(), None, None, NUM_OBJECTS
    )


def make_batch(num: int = NUM_RECORDS, num_valid: int | None = None) -> Batch:
    generator = torch.Generator().manual_seed(1)
    valid = torch.arange(num) < (num if num_valid is None else num_valid)
    actions = torch.stack((torch.arange(num) % NUM_OBJECTS, torch.arange(num) % 4), 1).float()
    episodes = torch.tensor([4, 1, 4, 4, 2, 1, 4, 1, 9, 4, 1, 1]).repeat(num)[:num]
    return Batch(
        torch.randint(0, 256, (num, *FRAMES.shape), generator=generator, dtype=torch.uint8),
        torch.randint(0, 256, (num, *FRAMES.shape), generator=generator, dtype=torch.uint8),
        actions,
        episodes,
        valid.float(),
    )


def share(batch: Batch, rank: int, size: int) -> Batch:
    return batch.parts(size)[rank]


def work(rank: int, size: int) -> dict[str, Any]:
    """Loss, averaged gradients and evaluation of a rank's share."""
    model = make_model()
    found: dict[str, Any] = {}
    for num in (1, 3):
        model.zero_grad()
        config = ContrastiveConfig(
            num_negatives=num,
            change_weight=num / 4,
            same_episode_share=0.5 if num == 3 else 0.0,
            hinge_per_object=num == 3,
        )
        loss, terms = ContrastiveObjective(model, config)(*share(make_batch(), rank, size))
        loss.backward()
        found[f"terms {num}"] = terms
        found[f"gradients {num}"] = [parameter.grad.clone() for parameter in model.parameters()]
        evaluation = ContrastiveEvaluation(model, config)
        evaluation.update(share(make_batch(), rank, size))
        evaluation.update(share(make_batch(NUM_RECORDS, 7), rank, size))
        found[f"sums {num}"] = evaluation.sums()
    return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_on_ranks("test_contrastive_loss", "work", tmp_path_factory.mktemp("ranks"))


def loops(batch: Batch, num_negatives: int, hinge: float, sigma: float) -> list[float]:
    """Positive, negative and spread, one record and one negative after the other."""
    model = make_model()
    z, following = model.latent(batch.source), model.latent(batch.target)
    predicted = model.predict(z, batch.action)

    def e(x: torch.Tensor, y: torch.Tensor) -> float:
        per_object = (x - y).square().sum(-1) / (2 * sigma**2)
        return per_object.mean().item()

    n = len(z)
    positive = [e(predicted[i], following[i]) for i in range(n)]
    apart = [[e(z[i], z[(i + j) % n]) for j in range(1, num_negatives + 1)] for i in range(n)]
    negative = [max(0.0, hinge - value) for row in apart for value in row]
    spread = [value for row in apart for value in row]
    moved = [e(z[i], following[i]) for i in range(n)]
    change = [max(0.0, hinge - value) for value in moved]
    return [sum(values) / len(values) for values in (positive, negative, spread, moved, change)]


@pytest.mark.parametrize("num_negatives", [1, 3])
@pytest.mark.parametrize("change_weight", [0.0, 0.7])
@pytest.mark.parametrize(("hinge", "sigma"), [(1.0, 0.5), (0.3, 0.4)])
def test_the_loss_is_the_formula(
    num_negatives: int, change_weight: float, hinge: float, sigma: float
) -> None:
    config = ContrastiveConfig("contrastive", hinge, sigma, num_negatives, change_weight)
    loss, terms = ContrastiveObjective(make_model(), config)(*make_batch())
    positive, negative, spread, moved, change = loops(make_batch(), num_negatives, hinge, sigma)
    assert 0 < negative < hinge
    assert 0 < change < hinge
    total = positive + negative + change_weight * change
    wanted = dict(zip(TERM_NAMES, (total, positive, negative, spread, moved), strict=True))
    found = dict(zip(TERM_NAMES, terms.tolist(), strict=True))
    assert found == pytest.approx(wanted, rel=1e-5)
    assert loss.item() == pytest.approx(wanted["loss/total"], rel=1e-5)


@pytest.mark.parametrize("share", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("hinge_per_object", [False, True])
def test_negatives_of_the_same_episode_and_of_objects_are_those_written_out(
    share: float, hinge_per_object: bool
) -> None:
    """Negative m of the batch, row by row, is of the own episode where the whole part of m * share
    grows: the next record of it in the batch, if there is one."""
    config = ContrastiveConfig(same_episode_share=share, hinge_per_object=hinge_per_object)
    model, batch = make_model(), make_batch()
    _, terms = ContrastiveObjective(model, config)(*batch)
    z, labels = model.latent(batch.source), batch.label.tolist()
    pushes, spread, num_own = [], [], 0
    for i in range(NUM_RECORDS):
        later = [(i + j) % NUM_RECORDS for j in range(1, NUM_RECORDS)]
        others = [j for j in later if labels[j] == labels[i]]
        step = max(1, (len(others) + 1) // 2)
        is_own = int((i + 1) * share) > int(i * share) and bool(others)
        other = z[others[step - 1] if is_own else later[0]]
        num_own += is_own
        each = object_energies(z[i : i + 1], other[None], config.sigma)[0].tolist()
        whole = sum(each) / NUM_OBJECTS
        spread.append(whole)
        parts = each if hinge_per_object else [whole]
        pushes.append(sum(max(0.0, 1 - part) for part in parts) / len(parts))
    found = dict(zip((*TERM_NAMES, "own"), terms.tolist(), strict=True))
    assert 0 < num_own < NUM_RECORDS
    assert found["own"] == pytest.approx(num_own / NUM_RECORDS)
    assert found["loss/negative"] == pytest.approx(sum(pushes) / NUM_RECORDS, rel=1e-5)
    assert found["latent_spread"] == pytest.approx(sum(spread) / NUM_RECORDS, rel=1e-5)
    evaluation = ContrastiveEvaluation(model, config)
    evaluation.update(make_batch(NUM_RECORDS, 11))
    part = ContrastiveEvaluation(model, config)
    part.update(Batch(*(values[:11] for values in make_batch())))
    assert evaluation.metrics(evaluation.sums()) == pytest.approx(
        part.metrics(part.sums()), rel=1e-6
    )


def test_own_next_states_are_pushed_away_in_the_part_of_the_moved_object() -> None:
    config = ContrastiveConfig(hinge=9.0, change_weight=0.7, hinge_per_object=True)
    model, batch = make_model(), make_batch()
    loss, terms = ContrastiveObjective(model, config)(*batch)
    z, following = model.latent(batch.source), model.latent(batch.target)
    each = object_energies(z, following, config.sigma)
    wanted = [max(0.0, 9 - each[i, i % NUM_OBJECTS].item()) for i in range(NUM_RECORDS)]
    assert max(wanted) > 0
    found = (loss - terms[1] - terms[2]).item()
    assert found == pytest.approx(0.7 * sum(wanted) / NUM_RECORDS, rel=1e-4)
    evaluation = ContrastiveEvaluation(model, config)
    evaluation.update(batch)
    metrics = evaluation.metrics(evaluation.sums())
    rest = metrics["loss/total"] - metrics["loss/positive"] - metrics["loss/negative"]
    assert rest == pytest.approx(0.7 * sum(wanted) / NUM_RECORDS, rel=1e-4)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(1, 4))
def test_own_episodes_are_chosen_once_by_each_row(labels: list[int], num: int) -> None:
    """Places stay within the episode, differ from the row and from each other, and no row is
    chosen twice: its gradient is the sum of no two rows in a random order."""
    episodes = torch.tensor(labels)
    chosen = [same_episode_places(episodes, number, num) for number in range(1, num + 1)]
    for number, (places, exists) in enumerate(chosen, 1):
        assert sorted(places.tolist()) == list(range(len(labels)))
        assert torch.equal(episodes[places], episodes)
        assert exists.tolist() == [labels.count(label) > number for label in labels]
    for row, label in enumerate(labels):
        if labels.count(label) > num:
            assert len({row, *(places[row].item() for places, _ in chosen)}) == num + 1


def test_keys_without_effect_are_refused(tmp_path: Path) -> None:
    """Latents without objects have one hinge, and episodes of one step no other state."""
    reacher = ReacherModelConfig("reacher", "ours", 2, 2)
    each, own = ContrastiveConfig(hinge_per_object=True), ContrastiveConfig(same_episode_share=0.5)
    with pytest.raises(ValueError, match=r"hinge_per_object has no effect with model\.name"):
        WorldModelConfig("world_model", reacher, each)
    with pytest.raises(ValueError, match=r"same_episode_share=1\.5 must lie between 0 and 1"):
        ContrastiveConfig(same_episode_share=1.5)
    grid = GridModelConfig("grid", "ours", "cells", 2, 4, directions="relative")
    config = WorldModelConfig("world_model", grid, own)
    words = ("dataset=rush_hour", "num_episodes=2", "dataset.num_test_episodes=1")
    one, two = (
        prepare(tmp_path / str(length), *words, f"dataset.episode_length={length}").manifest
        for length in (1, 2)
    )
    with pytest.raises(ValueError, match="its training episodes have one step"):
        WorldModelTask(config, one, torch.device("cpu"))
    task = WorldModelTask(config, two, torch.device("cpu"))
    assert task.term_names == (*TERM_NAMES, "same_episode_share")


def test_states_that_stay_as_they_are_are_not_pushed_away() -> None:
    """A blocked move is no harm: neither its positive nor its own negative has a gradient."""
    model = make_model()
    batch = make_batch()
    still = batch._replace(target=batch.source, action=torch.zeros_like(batch.action))
    gradients = []
    for weight in (0.0, 5.0):
        model.zero_grad()
        ContrastiveObjective(model, ContrastiveConfig(change_weight=weight))(*still)[0].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert gradients[0].abs().max() > 0
    assert torch.equal(*gradients)


def test_validation_counts_the_own_negative_like_training() -> None:
    config = ContrastiveConfig(hinge=9.0, change_weight=0.7)
    evaluation = ContrastiveEvaluation(make_model(), config)
    evaluation.update(make_batch())
    metrics = evaluation.metrics(evaluation.sums())
    _, _, _, moved, change = loops(make_batch(), 1, config.hinge, config.sigma)
    assert change > 0
    others = metrics["loss/positive"] + metrics["loss/negative"]
    assert metrics["loss/total"] - others == pytest.approx(0.7 * change, rel=1e-4)
    assert metrics["latent_change"] == pytest.approx(moved, rel=1e-5)


def test_energy_is_a_mean_over_objects_and_a_sum_within() -> None:
    x, y = torch.zeros(2, 3, 4), torch.ones(2, 3, 4)
    assert energy(x, y, 3, 0.5).tolist() == [8.0, 8.0]
    assert energy(x, y, 1, 0.5).tolist() == [24.0, 24.0]


def test_a_row_is_never_its_own_negative() -> None:
    rows = torch.arange(5.0)[:, None]
    drawn = torch.cat(negatives(rows, 4), 1)
    for row, others in zip(rows, drawn, strict=True):
        assert sorted([*others.tolist(), row.item()]) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="num_negatives=5 is not below the batch of 5"):
        negatives(rows, 5)


@pytest.mark.parametrize("num_negatives", [1, 3])
def test_two_ranks_have_the_loss_of_one(ranks: list[dict[str, Any]], num_negatives: int) -> None:
    one = work(0, 1)
    terms = torch.stack([rank[f"terms {num_negatives}"] for rank in ranks]).mean(0)
    torch.testing.assert_close(terms, one[f"terms {num_negatives}"], rtol=1e-6, atol=1e-6)
    pairs = zip(*(rank[f"gradients {num_negatives}"] for rank in ranks), strict=True)
    for pair, wanted in zip(pairs, one[f"gradients {num_negatives}"], strict=True):
        torch.testing.assert_close((pair[0] + pair[1]) / 2, wanted, rtol=1e-5, atol=1e-6)
    sums = ranks[0][f"sums {num_negatives}"] + ranks[1][f"sums {num_negatives}"]
    torch.testing.assert_close(sums, one[f"sums {num_negatives}"], rtol=1e-6, atol=1e-6)


def test_padding_does_not_count() -> None:
    model, config = make_model(), ContrastiveConfig()
    padded, whole = (ContrastiveEvaluation(model, config) for _ in range(2))
    batch = make_batch(NUM_RECORDS, 7)
    padded.update(batch)
    whole.update(Batch(*(values[:7] for values in batch)))
    assert padded.metrics(padded.sums()) == pytest.approx(whole.metrics(whole.sums()), rel=1e-6)


def test_a_batch_of_one_has_no_negative() -> None:
    evaluation = ContrastiveEvaluation(make_model(), ContrastiveConfig())
    evaluation.update(make_batch(NUM_RECORDS, 1))
    metrics = evaluation.metrics(evaluation.sums())
    assert metrics["loss/negative"] == 0
    assert metrics["loss/total"] == metrics["loss/positive"] > 0


def test_hits_count_the_nearest_prediction() -> None:
    """Actions that lead to the true next latent hit; moved by far, all but one miss."""
    model = make_model()
    batch = make_batch()
    change = (model.latent(batch.target) - model.latent(batch.source)).detach()
    model.transition = _Told(change)
    evaluation = ContrastiveEvaluation(model, ContrastiveConfig())
    evaluation.update(batch)
    metrics = evaluation.metrics(evaluation.sums())
    assert metrics["hits_at_1"] == 1
    assert metrics["loss/positive"] == pytest.approx(0, abs=1e-9)
    model.transition = _Told(
        change.roll(1, 0)
        + (model.latent(batch.source).roll(1, 0) - model.latent(batch.source)).detach()
    )
    evaluation = ContrastiveEvaluation(model, ContrastiveConfig())
    evaluation.update(batch)
    assert evaluation.metrics(evaluation.sums())["hits_at_1"] == 0


class _Told(nn.Module):
    """A transition that knows each record's change."""

    def __init__(self, change: torch.Tensor) -> None:
        super().__init__()
        self.change = change

    def forward(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return latent + self.change


def test_equal_latents_hit_and_have_no_spread() -> None:
    model = make_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    evaluation = ContrastiveEvaluation(model, ContrastiveConfig())
    batch = make_batch()
    evaluation.update(batch._replace(action=torch.zeros_like(batch.action)))
    metrics = evaluation.metrics(evaluation.sums())
    assert metrics["hits_at_1"] == 1
    assert metrics["latent_spread"] == 0
    assert metrics["loss/total"] == 1
