"""Scores of latents have the values that they must have for perfect, constant and random latents.

Protects retrieval among views and its ties, retrieved poses, gain, regression to the pose with its
floors, D_LSBD without its signs, and elements that neighbours infer.
"""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit.core.groups import make_group
from pipeline.metrics.disentanglement import (
    d_lsbd,
    frequency_shares,
    noise_floor,
    why_no_d_lsbd,
)
from pipeline.metrics.pose import (
    KERNELS,
    PAIR_KERNELS,
    Features,
    fit_mean,
    fit_ridge,
    pose_components,
    pose_targets,
    r2_by_component,
    r2_pooled,
)
from pipeline.metrics.ranking import Ranks
from pipeline.metrics.retrieval import (
    chance_reciprocal_rank,
    equivariance_gain,
    expected_hits_at,
    expected_reciprocal_rank,
    nearest_candidates,
    pose_distance,
    pose_retrieval,
    rank_views,
    vote_on_poses,
)
from pipeline.referee.fits import random_pairs

NUM_VIEWS = 36
ANGLES = torch.arange(NUM_VIEWS) * (2 * math.pi / NUM_VIEWS)
SO2, SO3 = make_group("so2"), make_group("so3")


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def circles(num_objects: int, *frequencies: int) -> torch.Tensor:
    """Latents (O, 36, D) that turn at these frequencies, from phases and with axes of their own."""
    parts = []
    for number, frequency in enumerate(frequencies):
        phase = noise(num_objects, 1, seed=number) * 7
        turned = frequency * ANGLES.double() + phase
        plane = noise(num_objects, 2, 6, seed=50 + number)
        plane = torch.linalg.qr(plane.mT).Q.mT
        parts.append(torch.stack((turned.cos(), turned.sin()), 2) @ plane)
    return torch.cat(parts, 2) + noise(num_objects, 1, 6 * len(frequencies), seed=99)


# Retrieval


@pytest.mark.parametrize("num", [1, 4, 10, 36])
def test_chance_is_what_guessing_scores(num: int) -> None:
    ranks = Ranks(torch.arange(1, num + 1), torch.zeros(num, dtype=torch.int64))
    assert expected_reciprocal_rank(ranks) == pytest.approx(chance_reciprocal_rank(num))
    assert expected_hits_at(1, ranks) == pytest.approx(1 / num)


def test_the_chance_of_known_sizes() -> None:
    found = [chance_reciprocal_rank(num) for num in (4, 10, 36, 50)]
    assert found == pytest.approx([0.521, 0.293, 0.116, 0.090], abs=5e-4)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 4)), min_size=1, max_size=2))
def test_ties_count_as_every_order_of_them_on_average(pairs: list[tuple[int, int]]) -> None:
    ranks = Ranks(*torch.tensor(pairs).T)
    orders = list(itertools.product(*(range(r, r + t + 1) for r, t in pairs)))
    values = [1 / rank for order in orders for rank in order]
    assert expected_reciprocal_rank(ranks) == pytest.approx(sum(values) / len(values))
    hits = [rank <= 3 for order in orders for rank in order]
    assert expected_hits_at(3, ranks) == pytest.approx(sum(hits) / len(hits))


def scores(predicted: torch.Tensor, views: torch.Tensor) -> tuple[float, float]:
    ranks = rank_views(predicted, views)
    return expected_reciprocal_rank(ranks), expected_hits_at(1, ranks)


def test_views_are_found_by_perfect_latents_and_guessed_by_equal_ones() -> None:
    views = circles(5, 1)
    assert scores(views, views) == (1.0, 1.0)
    assert scores(views * 3, views) == (1.0, 1.0), "lengths do not matter"
    equal = torch.ones(5, NUM_VIEWS, 7)
    chance = chance_reciprocal_rank(NUM_VIEWS), 1 / NUM_VIEWS
    assert scores(equal, equal) == pytest.approx(chance)
    assert scores(torch.zeros_like(equal), equal) == pytest.approx(chance)


def test_random_latents_are_found_by_chance() -> None:
    found = scores(noise(60, NUM_VIEWS, 8, seed=1), noise(60, NUM_VIEWS, 8, seed=2))
    assert found == pytest.approx((chance_reciprocal_rank(NUM_VIEWS), 1 / NUM_VIEWS), abs=0.015)


def test_other_objects_do_not_compete() -> None:
    """All objects have the same latents, which would be ties."""
    views = circles(1, 1).repeat(4, 1, 1)
    assert scores(views, views) == (1.0, 1.0)
    with pytest.raises(ValueError, match="do not pair up"):
        rank_views(views[:, 1:], views)


def test_retrieved_poses() -> None:
    views, elements = circles(3, 1).flatten(0, 1), ANGLES.repeat(3)
    perfect = pose_retrieval(SO2, views, views, elements)
    assert perfect == pytest.approx((0, 0.5), abs=1e-6)
    equal = pose_retrieval(SO2, torch.ones_like(views), torch.ones_like(views), elements)
    assert equal == pytest.approx((0.5, 0.5))
    random = pose_retrieval(SO2, noise(108, 9, seed=1), noise(108, 9, seed=2), elements)
    assert random.error == pytest.approx(0.5, abs=0.1)
    opposite = pose_retrieval(SO2, views, views.view(3, 36, -1).roll(18, 1).flatten(0, 1), elements)
    assert opposite.error == pytest.approx(1)


def test_the_error_of_a_quaternion_is_that_of_its_scalar_product() -> None:
    import numpy as np

    g, h = (SO3.sample(np.random.default_rng(seed), 50) for seed in (0, 1))
    wanted = 1 - (g.double() * h.double()).sum(1).square()
    assert torch.allclose(pose_distance(SO3, g, h), wanted, atol=1e-6)
    assert torch.allclose(pose_distance(SO3, g, -h), wanted, atol=1e-6)


def test_gain() -> None:
    source, target = noise(500, 4, seed=1), noise(500, 4, seed=2)
    assert equivariance_gain(source, source, target) == (0, 1)
    equal = torch.ones(9, 4)
    assert equivariance_gain(equal, equal, equal) == (0, 1)
    perfect = equivariance_gain(source, 2 * target, target)
    cosine = torch.cosine_similarity(source, target).mean()
    assert perfect == (pytest.approx(1 - float(cosine)), None)
    random = equivariance_gain(source, noise(500, 4, seed=3), target)
    assert random == pytest.approx((0, 1), abs=0.1)


# Regression to the pose


def regression(kernel: str, latents: torch.Tensor) -> tuple[float, float]:
    """R2 by component and pooled on the last third of objects, for latents (O, 36, D)."""
    third = len(latents) // 3
    targets = pose_targets(SO2, ANGLES).expand(third, -1, -1).flatten(0, 1)
    train, val, test = (part.flatten(0, 1) for part in latents.split(third))
    predict = fit_ridge(Features(train, targets), Features(val, targets), kernel)
    predicted = predict(test)
    return sum(r2_by_component(targets, predicted)) / 2, r2_pooled(targets, predicted)


@pytest.mark.parametrize("kernel", KERNELS)
def test_regression_finds_the_pose_where_it_is_and_only_there(kernel: str) -> None:
    turned = torch.stack((ANGLES.cos(), ANGLES.sin()), 1).double().expand(9, -1, -1)
    content = 0.2 * noise(9, 1, 2).expand(-1, NUM_VIEWS, -1)
    holds = torch.cat((turned, content), 2) @ noise(4, 8, seed=5)
    assert regression(kernel, holds) == pytest.approx((1, 1), abs=2e-2)
    assert regression(kernel, torch.ones(9, NUM_VIEWS, 5)) == pytest.approx((0, 0), abs=1e-9)
    assert regression(kernel, noise(9, NUM_VIEWS, 5)) == pytest.approx((0, 0), abs=0.1)


def test_only_the_gaussian_kernel_finds_a_pose_that_no_line_finds() -> None:
    halves = torch.stack(((ANGLES / 2).cos(), (ANGLES / 2).sin()), 1).double()
    latents = halves.expand(9, -1, -1) * noise(9, 1, 1).sign()
    assert regression("linear", latents)[0] < 0.1
    assert regression("gaussian", latents)[0] > 0.99
    with pytest.raises(ValueError, match="allowed bilinear, gaussian, linear"):
        regression("cubic", latents)


def relative(kernel: str, latents: torch.Tensor) -> float:
    """R2 by component of relative angles, from two views of each object, (O, 36, D)."""
    third = len(latents) // 3
    parts = []
    for number, part in enumerate(latents.split(third)):
        first, second = random_pairs(third, NUM_VIEWS, number)
        angles = ANGLES.expand(third, -1).flatten()
        views = part.flatten(0, 1)
        targets = pose_targets(SO2, angles[second] - angles[first])
        parts.append(Features(torch.cat((views[first], views[second]), 1), targets))
    train, val, test = parts
    predicted = fit_ridge(train, val, kernel)(test.features)
    return sum(r2_by_component(test.targets, predicted)) / 2


@pytest.mark.parametrize("kernel", PAIR_KERNELS)
def test_objects_without_an_upright_pose_have_relative_poses(kernel: str) -> None:
    """Each object's circle begins elsewhere: its own pose cannot be read, that of a pair can."""
    phases = noise(24, 1) * 10
    turned = torch.stack(((ANGLES + phases).cos(), (ANGLES + phases).sin()), 2).double()
    content = 0.2 * noise(24, 1, 2).expand(-1, NUM_VIEWS, -1)
    holds = torch.cat((turned, content), 2) @ noise(4, 8, seed=5)
    assert regression("gaussian", holds)[0] < 0.1
    assert relative(kernel, holds) > (0.99 if kernel == "bilinear" else 0.8)
    assert relative(kernel, torch.ones(24, NUM_VIEWS, 3)) == pytest.approx(0, abs=0.02)
    assert relative(kernel, noise(24, NUM_VIEWS, 3)) == pytest.approx(0, abs=0.1)


def test_pairs_are_of_one_object_and_every_view_is_once_on_either_side() -> None:
    first, second = random_pairs(5, 7, 0)
    assert torch.equal(first // 7, second // 7)
    assert (first != second).all()
    for side in (first, second):
        assert torch.equal(side.sort().values, torch.arange(35))
    steps = (second - first) % 7
    assert len(steps.unique()) > 3
    assert not torch.equal(random_pairs(5, 7, 1)[0], first)


def test_the_pooled_floor_is_not_0_for_quaternions() -> None:
    """The mean alone explains that w is positive and the others are not."""
    import numpy as np

    targets = pose_targets(SO3, SO3.sample(np.random.default_rng(0), 4000))
    predicted = fit_mean(Features(targets, targets))(targets)
    assert r2_by_component(targets, predicted) == pytest.approx([0] * 4, abs=1e-9)
    between = targets.mean(0).var(correction=0)
    within = (targets - targets.mean()).square().mean()
    assert r2_pooled(targets, predicted) == pytest.approx(float(between / within))
    assert r2_pooled(targets, predicted) > 0.1
    assert r2_by_component(torch.ones(5, 2), noise(5, 2)) == [0, 0]
    assert r2_pooled(torch.ones(5, 2), noise(5, 2)) == 0


def test_poses_of_rotations_only() -> None:
    quarter = pose_targets(make_group("c4"), torch.arange(4))
    assert torch.allclose(quarter, pose_targets(SO2, torch.arange(4) * (math.pi / 2)), atol=1e-6)
    assert pose_components(SO3) == ("w", "x", "y", "z")
    with pytest.raises(ValueError, match="allowed c4, so2, so3"):
        pose_targets(make_group("d4"), torch.arange(4))


# D_LSBD


@pytest.mark.parametrize("frequency", [1, 3])
def test_perfect_circles_score_0_whatever_their_signs(frequency: int) -> None:
    """Axes and phases of each object are its own, and some objects turn the other way."""
    latents = circles(20, frequency)
    latents[::2] = latents[::2].flip(1)
    assert d_lsbd(latents) == pytest.approx(0, abs=1e-9)
    squeezed = latents * torch.tensor([1.0, 0.3, 1, 1, 2, 1])
    assert d_lsbd(squeezed) < 0.5
    assert d_lsbd(latents + 0.01 * noise(*latents.shape)) < 0.01


def test_latents_without_a_circle_score_badly() -> None:
    assert d_lsbd(torch.ones(5, NUM_VIEWS, 4)) == 1
    assert d_lsbd(torch.zeros(5, NUM_VIEWS, 4)) == 1
    line = ANGLES.cos().view(1, -1, 1) * noise(5, 1, 4)
    assert d_lsbd(line) == pytest.approx(0.75), "a line is two opposite circles of half the size"
    floor = noise_floor(50, NUM_VIEWS, 7)
    assert floor == pytest.approx(0.97, abs=0.02)
    assert d_lsbd(noise(50, NUM_VIEWS, 7, seed=3)) == pytest.approx(floor, abs=0.02)
    with pytest.raises(ValueError, match="4 angles of a turn"):
        d_lsbd(noise(5, 4, 7))


def test_actions_of_several_frequencies_are_refused_with_their_shares() -> None:
    assert why_no_d_lsbd(circles(4, 2)) is None
    assert float(frequency_shares(circles(4, 2))[1]) == pytest.approx(1)
    assert float(frequency_shares(circles(4, 18))[17]) == pytest.approx(1)
    reason = why_no_d_lsbd(circles(4, 1, 2))
    assert reason is not None
    assert "1 (50%), 2 (50%)" in reason
    assert "not change" in str(why_no_d_lsbd(torch.ones(4, NUM_VIEWS, 3)))
    assert "at least 36" in str(why_no_d_lsbd(torch.ones(4, 4, 3)))


# Inferred elements


def test_the_element_of_a_pair_is_found() -> None:
    (moved,) = circles(1, 1)
    order = torch.randperm(NUM_VIEWS, generator=torch.Generator().manual_seed(0))
    assert nearest_candidates(moved, moved[order]).tolist() == order.tolist()
    found = nearest_candidates(noise(NUM_VIEWS, 9), noise(2000, 9, seed=1))
    assert float((found == 7).double().mean()) == pytest.approx(1 / NUM_VIEWS, abs=0.02)


def test_neighbours_vote_on_the_pose() -> None:
    """An image in pose 5 is moved back by 12 candidates; only the fifth gives an upright image."""
    upright = noise(1, 8)
    turn = torch.linalg.qr(noise(8, 8, seed=2)).Q
    powers = [torch.linalg.matrix_power(turn, 5 - candidate) for candidate in range(12)]
    moved_back = torch.stack([(upright @ power)[0] for power in powers])[None]
    references = torch.cat([upright + 0.01 * noise(5, 8, seed=4), noise(20, 8, seed=3)])
    for num in (1, 3, 5):
        assert vote_on_poses(moved_back, references, num).tolist() == [5]
    assert vote_on_poses(moved_back, references, 1000).tolist() == [5], "the nearest pair decides"
    with pytest.raises(ValueError, match="none"):
        vote_on_poses(moved_back, references[:0], 1)
