"""Metrics of latents equal their definitions.

Protects ranks against a loop over all pairs, near ties and equal latents; closed forms of
equivariance and distance errors of random rotations; hits against negatives and along a
traversal; circulant parts; and that a collapsed encoder shows.
"""

import math

import numpy as np
import pytest
import torch
from helpers.programs import start_python
from helpers.waiting import PATIENCE_S
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit.core.groups import make_group, quaternions
from pipeline.metrics.images import MeanError, distances, lengths
from pipeline.metrics.latents import (
    TypicalDistance,
    circulant_part,
    circulant_share,
    latent_spread,
    share_distinct,
    traversal_hits,
)
from pipeline.metrics.ranking import (
    LabelCounts,
    count_labels,
    hard_ranks,
    hits_at,
    mean_reciprocal_rank,
    rank_predictions,
)

SMALL = st.integers(1, 12)


def brute_force(true: torch.Tensor, predicted: torch.Tensor) -> tuple[list[int], list[int]]:
    """Ranks and ties by the definition, in exact arithmetic on whole numbers."""
    rows = [[int(x) for x in row.flatten()] for row in true]
    columns = [[int(x) for x in row.flatten()] for row in predicted]
    ranks, ties = [], []
    for i, row in enumerate(rows):
        d = [sum((a - b) ** 2 for a, b in zip(row, column, strict=True)) for column in columns]
        ranks.append(1 + sum(d[j] < d[i] for j in range(len(d)) if j != i))
        ties.append(sum(d[j] == d[i] for j in range(len(d)) if j != i))
    return ranks, ties


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), num=SMALL, block=st.sampled_from([1, 7, 30, 10**6]))
def test_ranks_are_those_of_the_definition(seed: int, num: int, block: int) -> None:
    """Whole numbers of few values meet many ties."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num, 2, 2)
    true, predicted = (torch.randint(-2, 3, shape, generator=generator).float() for _ in range(2))
    ranks = rank_predictions(true, predicted, block)
    assert (ranks.rank.tolist(), ranks.num_tied.tolist()) == brute_force(true, predicted)


def test_close_distances_are_told_apart_far_from_the_origin() -> None:
    """Where |a|^2 - 2ab + |b|^2 has lost all digits, even in float64."""
    offset, step = 2.0**20, 2.0**-3
    generator = torch.Generator().manual_seed(1)
    whole = torch.randint(-4, 5, (200, 6), generator=generator)
    other = torch.randint(-4, 5, (200, 6), generator=generator)
    true, predicted = (offset + step * x.float() for x in (whole, other))
    ranks = rank_predictions(true, predicted)
    assert (ranks.rank.tolist(), ranks.num_tied.tolist()) == brute_force(whole, other)
    tiny = torch.tensor([[0.0], [1.0]])
    nearly = torch.tensor([[1.0], [1.0 - 2.0**-24]])
    assert rank_predictions(tiny, nearly).rank.tolist() == [2, 2]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), num=st.integers(2, 40))
def test_ranks_follow_samples_and_know_no_direction(seed: int, num: int) -> None:
    """To permute samples, or to turn, shift and scale the space, changes no rank."""
    generator = torch.Generator().manual_seed(seed)
    true, predicted = (torch.randn(num, 5, generator=generator).double() for _ in range(2))
    ranks = rank_predictions(true, predicted).rank
    order = torch.randperm(num, generator=generator)
    assert torch.equal(rank_predictions(true[order], predicted[order]).rank, ranks[order])
    turn = torch.linalg.qr(torch.randn(5, 5, generator=generator).double()).Q
    moved = (3.0 * x @ turn + 2.0 for x in (true, predicted))
    assert torch.equal(rank_predictions(*moved).rank, ranks)
    assert mean_reciprocal_rank(ranks) >= hits_at(1, ranks)
    for k in (1, 2, 5):
        assert hits_at(k, ranks) >= hits_at(k, ranks + 1)
        assert mean_reciprocal_rank(ranks) >= hits_at(k, ranks) / k
    assert hits_at(num, ranks) == 1


def test_a_collapsed_encoder_shows_by_ties_and_spread() -> None:
    """Its hits are perfect, which is why they are never reported alone."""
    collapsed = torch.full((50, 3), 0.7)
    ranks = rank_predictions(collapsed, collapsed)
    assert hits_at(1, ranks.rank) == mean_reciprocal_rank(ranks.rank) == 1
    assert (ranks.num_tied == 49).all()
    assert hits_at(1, ranks.rank + ranks.num_tied) == 0
    assert latent_spread(collapsed) == pytest.approx(0, abs=1e-12)
    assert share_distinct(collapsed) == 1 / 50
    sound = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    ranks = rank_predictions(sound, sound)
    assert hits_at(1, ranks.rank) == 1
    assert (ranks.num_tied == 0).all()
    assert share_distinct(sound) == 1


def test_spread_is_the_root_mean_square_distance_of_pairs() -> None:
    latents = torch.randn(30, 2, 4, generator=torch.Generator().manual_seed(3))
    pairs = torch.cdist(latents.flatten(1).double(), latents.flatten(1).double()).square()
    assert latent_spread(latents) == pytest.approx(float((pairs.mean() / 2).sqrt()))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), num=st.integers(2, 20), parts=st.integers(1, 5))
def test_typical_distance_is_that_of_all_pairs_whatever_the_batches(
    seed: int, num: int, parts: int
) -> None:
    """And a constant beside the latents changes nothing, a factor by itself."""
    latents = torch.randn(num, 3, 2, 2, generator=torch.Generator().manual_seed(seed)).double()

    def typical(values: torch.Tensor) -> torch.Tensor:
        found = TypicalDistance(3)
        for part in values.split(parts):
            found.add(part)
        return found.value

    flat = latents.flatten(2)
    pairs = (flat[:, None] - flat[None]).square().sum(3).mean((0, 1)).sqrt()
    torch.testing.assert_close(typical(latents), pairs)
    torch.testing.assert_close(typical(-3 * latents + 1000), 3 * pairs, rtol=1e-9, atol=1e-9)


def test_without_latents_nothing_is_typical() -> None:
    assert TypicalDistance(2).value.tolist() == [0, 0]


RANK_MANY = """
import resource, torch
from pipeline.metrics.ranking import rank_predictions
draw = torch.Generator().manual_seed(0)
true, predicted = (torch.randn(10_000, 4, generator=draw) for _ in range(2))
rank_predictions(true[:100], predicted[:100])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
mean = float(rank_predictions(true, predicted).rank.double().mean())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, mean)
"""


def test_ten_thousand_latents_are_ranked_in_little_memory() -> None:
    """All distances at once would be 800 MB. In a process of its own, whose peak is known."""
    process = start_python(RANK_MANY)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    kibibytes, mean = map(float, out.split())
    assert kibibytes * 1024 < 200e6
    assert 4900 < mean < 5100


def rotations(seed: int, num: int) -> torch.Tensor:
    q = make_group("so3").sample(np.random.default_rng(seed), num).double()
    return quaternions.to_matrix(q)


def test_unrelated_frames_have_the_errors_known_in_closed_form() -> None:
    """Of random rotations: E|R - S| = 8 2 sqrt(2) / (3 pi), and by it the paper's None row."""
    first, second, third, fourth = (rotations(seed, 200_000) for seed in range(4))
    error = distances(first, second)
    expected = 8 * 2 * math.sqrt(2) / (3 * math.pi)
    assert float(error.mean()) == pytest.approx(expected, rel=3e-3)
    change = (error - distances(third, fourth)).abs()
    assert float(change.mean()) == pytest.approx(0.495, abs=3e-3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), num=st.integers(1, 30), parts=st.integers(1, 4))
def test_mean_errors_add_up_and_scale(seed: int, num: int, parts: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(num, 2, 3, generator=generator) for _ in range(2))
    whole, joined, scaled = MeanError(), MeanError(), MeanError()
    whole.add(distances(first, second), lengths(second))
    scaled.add(distances(3 * first, 3 * second), lengths(3 * second))
    for one, other in zip(first.chunk(parts), second.chunk(parts), strict=True):
        part = MeanError()
        part.add(distances(one, other), lengths(other))
        joined = joined.join(part)
    assert joined.raw == pytest.approx(whole.raw)
    assert joined.relative == pytest.approx(whole.relative)
    assert scaled.raw == pytest.approx(3 * whole.raw, rel=1e-5)
    assert scaled.relative == pytest.approx(whole.relative, rel=1e-5)


def test_an_error_of_nothing_is_not_small() -> None:
    none, something = MeanError(), MeanError()
    none.add(torch.zeros(2), torch.zeros(2))
    something.add(torch.ones(2), torch.zeros(2))
    assert none.relative == none.raw == 0
    assert something.relative == math.inf
    with pytest.raises(ValueError, match="do not pair up"):
        distances(torch.zeros(2, 3), torch.zeros(2, 4))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), num=SMALL, count=st.integers(1, 5))
def test_hard_ranks_are_those_of_the_definition(seed: int, num: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randint(-1, 2, (num, 3), generator=generator).float() for _ in range(2 + count)]
    true, predicted, *others = draw
    ranks = hard_ranks(true, predicted, torch.stack(others, 1))
    for i in range(num):
        own = (predicted[i] - true[i]).square().sum()
        nearer = [(predicted[i] - other[i]).square().sum() <= own for other in others]
        assert ranks[i] == 1 + sum(map(int, nearer))


def test_equal_latents_are_no_hard_hits() -> None:
    same = torch.ones(4, 3, 3)
    assert (hard_ranks(same, same, same[:, None].repeat(1, 6, 1, 1)) == 7).all()
    with pytest.raises(ValueError, match="do not belong together"):
        hard_ranks(same, same, same)


def turn_about_z(steps: torch.Tensor, num: int) -> torch.Tensor:
    angle = 2 * math.pi / num * steps.double()
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    rows = (angle.cos(), -angle.sin(), zero, angle.sin(), angle.cos(), zero, zero, zero, one)
    return torch.stack(rows, -1).view(*angle.shape, 3, 3)


def test_traversals_hit_where_the_nearest_pose_is_the_right_one() -> None:
    steps = torch.arange(1, 31)
    poses = turn_about_z(steps, 30)[None]
    assert traversal_hits(poses, poses).all()
    slow = turn_about_z(0.97 * steps, 30)[None]
    hits = traversal_hits(poses, slow)[0]
    # It is half a step behind after 16.7 steps.
    assert hits.tolist() == [step < 16.7 for step in steps.tolist()]
    still = torch.eye(3).double().expand(1, 30, 3, 3)
    assert traversal_hits(poses, still)[0].tolist() == [False] * 29 + [True]
    assert not traversal_hits(still, still).any()
    both = traversal_hits(torch.cat([poses, poses]), torch.cat([slow, poses]))
    assert torch.equal(both[0], hits)
    assert both[1].all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 9))
def test_the_circulant_part_is_an_orthogonal_projection(seed: int, size: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(size, size, generator=generator).double()
    part = circulant_part(matrix)
    torch.testing.assert_close(part.roll((1, 1), (0, 1)), part)
    torch.testing.assert_close(circulant_part(part), part)
    kernel = torch.randn(size, generator=generator).double()
    circulant = torch.stack([kernel.roll(row) for row in range(size)])
    torch.testing.assert_close(circulant_part(circulant), circulant)
    assert float(((matrix - part) * circulant).sum()) == pytest.approx(0, abs=1e-9)
    assert circulant_share(circulant) == pytest.approx(1)


def test_noise_is_circulant_by_one_over_its_size() -> None:
    noise = torch.randn(100, 100, generator=torch.Generator().manual_seed(0))
    assert circulant_share(noise) == pytest.approx(0.01, abs=0.003)
    assert circulant_share(torch.zeros(3, 3)) == 0
    with pytest.raises(ValueError, match="not square"):
        circulant_part(torch.zeros(2, 3))


def test_label_scores_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, f1_score

    generator = torch.Generator().manual_seed(0)
    said, true = (torch.rand(40, 25, generator=generator) < share for share in (0.1, 0.2))
    total = LabelCounts()
    for one, other in zip(said.split(7), true.split(7), strict=True):
        total = total.plus(count_labels(one, other))
    assert total.accuracy == pytest.approx(accuracy_score(true.flatten(), said.flatten()))
    assert total.f1 == pytest.approx(f1_score(true.flatten(), said.flatten()))
    assert count_labels(true & False, true & False).f1 == 1
    assert count_labels(true & False, true).f1 == 0
