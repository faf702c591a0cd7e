"""Whether predicted latents find the right view: ranks, retrieved poses, gain over not moving.

An orbit is V views g_1 x, ..., g_V x of one object, with latents z_v, and predictions p_v = g_v z
of them. A prediction ranks the V views of *its own object* by distance (SIE; Garrido et al.):

    rank_v = 1 + number of w with |p_v - z_w| < |p_v - z_v|

If T other views are exactly as near, the rank is any of rank_v, ..., rank_v + T with the same
probability: latents that are all equal score what guessing scores. By guessing, the mean reciprocal
rank is H_V / V = (1 + 1/2 + ... + 1/V) / V, and the share of hits at k is k / V.

*Pose retrieval* takes the nearest latent among the views of *all* objects and compares its pose
with the true one: (1 - cos a) / 2 for rotations that differ by the angle a. For unit quaternions
that is 1 - (q . q')^2.

*Gain* compares the prediction with no prediction, by cosine similarity, which collapsed latents
cannot make large (EquiMod; Devillers and Lefort).

*Inference* finds elements from latents by nearest neighbours (Dinh and Deny). A pair (x, g x) is
explained by the candidate c for which c z(x) is nearest to z(g x). A view y of an unknown image is
moved by c^-1 for every candidate; references are latents of other images that were moved back to
pose e. The k nearest of all (candidate, reference) pairs vote for the pose.
"""

from typing import NamedTuple

import torch

from orbit.core.groups import Group, Torus
from pipeline.metrics.ranking import Ranks, rank_predictions

MIN_VIEWS = 36
"""The least number of views of an orbit: with fewer, guessing scores too high."""
BLOCK_ROWS = 256
ROUNDING = 1e-9
"""Squared distances that differ by less than this share of the squared norms are equal."""


def unit_length(latents: torch.Tensor) -> torch.Tensor:
    """Latents (..., D) of length 1, float64; those that are 0 stay."""
    latents = latents.double()
    length = latents.norm(dim=-1, keepdim=True)
    return latents / torch.where(length > 0, length, torch.ones_like(length))


def rank_views(predicted: torch.Tensor, views: torch.Tensor) -> Ranks:
    """Ranks (O V,) of the true views among those of their own objects, for latents (O, V, D).

    By cosine similarity. ValueError for shapes that differ.
    """
    if predicted.shape != views.shape or views.ndim != 3:
        raise ValueError(
            f"predictions {tuple(predicted.shape)} and views {tuple(views.shape)} do not pair up"
        )
    found = [
        rank_predictions(of_predictions, of_views)
        for of_predictions, of_views in zip(unit_length(predicted), unit_length(views), strict=True)
    ]
    return Ranks(*(torch.cat(each) for each in zip(*found, strict=True)))


def expected_reciprocal_rank(ranks: Ranks) -> float:
    """Mean of 1 / rank, each the mean over the ranks that its ties allow."""
    last = ranks.rank + ranks.num_tied
    harmonic = torch.cat([torch.zeros(1, dtype=torch.float64), _harmonic(int(last.max()))])
    means = (harmonic[last] - harmonic[ranks.rank - 1]) / (ranks.num_tied + 1)
    return float(means.mean())


def expected_hits_at(k: int, ranks: Ranks) -> float:
    """Share of ranks that are at most k, each the mean over the ranks that its ties allow."""
    num_good = (k + 1 - ranks.rank).clamp_min(0).minimum(ranks.num_tied + 1)
    return float((num_good.double() / (ranks.num_tied + 1)).mean())


def chance_reciprocal_rank(num_views: int) -> float:
    """The mean reciprocal rank of guessing among this many views: H_n / n."""
    return float(_harmonic(num_views)[-1]) / num_views


def _harmonic(num: int) -> torch.Tensor:
    """1, 1 + 1/2, ..., up to this number of terms."""
    return (1 / torch.arange(1, num + 1, dtype=torch.float64)).cumsum(0)


class PoseErrors(NamedTuple):
    """Mean errors from 0 to 1 of retrieved poses, and of a view chosen at random."""

    error: float
    chance: float


def pose_distance(group: Group, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """(1 - cos a) / 2 of the angles a between rotations g and h, (N,) float64 from 0 to 1; the mean
    over both of two angles."""
    apart = group.distances(g, h) if isinstance(group, Torus) else group.distance(g, h)[:, None]
    return ((1 - apart.double().cos()) / 2).mean(1)


def pose_retrieval(
    group: Group, predicted: torch.Tensor, latents: torch.Tensor, elements: torch.Tensor
) -> PoseErrors:
    """Errors of the poses of the nearest among all latents (N, D), by cosine similarity.

    `predicted` (N, D) are predictions of these latents, `elements` (N, ...) rotations, the poses of
    both. Latents that are equally near, up to rounding, count with their mean error.
    """
    predicted, latents = unit_length(predicted), unit_length(latents)
    num, squares = len(latents), latents.square().sum(1)
    total = everything = 0.0
    for first in range(0, num, BLOCK_ROWS):
        rows = slice(first, first + BLOCK_ROWS)
        block = predicted[rows]
        distance = squares - 2 * block @ latents.T
        scale = block.square().sum(1, keepdim=True) + squares.max()
        is_nearest = distance <= distance.min(1, keepdim=True).values + ROUNDING * scale
        others = elements.repeat(len(block), *(1,) * (elements.ndim - 1))
        own = elements[rows].repeat_interleave(num, 0)
        error = pose_distance(group, own, others).view(len(block), num)
        total += float(((error * is_nearest).sum(1) / is_nearest.sum(1)).sum())
        everything += float(error.sum())
    return PoseErrors(total / num, everything / num**2)


class Gain(NamedTuple):
    """`gain` is the mean of cos(z', p) - cos(z', z): 0 if acting does nothing, and if latents are
    all equal. `ratio` is the mean of 1 - cos(z', z) over that of 1 - cos(z', p), 1 in both cases,
    None if the prediction is exact."""

    gain: float
    ratio: float | None


def equivariance_gain(source: torch.Tensor, predicted: torch.Tensor, target: torch.Tensor) -> Gain:
    """The gain for latents z, predictions p and targets z' (N, D) of elements other than e."""
    source, predicted, target = (unit_length(x) for x in (source, predicted, target))
    # Half the squared distance, which is 0 for equal vectors, and not up to rounding.
    moved, missed = (float((target - x).square().sum(1).mean()) / 2 for x in (source, predicted))
    ratio = moved / missed if missed > 0 else 1.0 if moved == 0 else None
    return Gain(moved - missed, ratio)


BLOCK_VALUES = 1 << 24


def nearest_candidates(moved: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The position of the nearest of K latents (K, D) for each target (V, D), (V,) int64.

    Of equally near ones the first counts.
    """
    moved, targets = moved.flatten(1).double(), targets.flatten(1).double()
    centre = moved.mean(0)
    moved, targets = moved - centre, targets - centre
    distance = moved.square().sum(1) - 2 * targets @ moved.T
    return distance.argmin(1)


def vote_on_poses(
    moved_back: torch.Tensor, references: torch.Tensor, num_neighbours: int
) -> torch.Tensor:
    """The candidate with most votes for each image, (N,) int64.

    `moved_back` (N, K, D) are latents of N images moved back by K candidates, `references` (R, D)
    latents in pose e. The `num_neighbours` nearest of the K R pairs vote; of candidates with
    equally many votes that of the nearest pair counts, or else the first. ValueError without
    references.
    """
    num, num_candidates = moved_back.shape[:2]
    if not len(references):
        raise ValueError("poses are voted on by references, and there are none")
    references = references.flatten(1)
    squares = references.square().sum(1)
    num_neighbours = min(num_neighbours, num_candidates * len(references))
    found = torch.empty(num, dtype=torch.int64, device=moved_back.device)
    rows = max(1, BLOCK_VALUES // (num_candidates * max(len(references), references.shape[1])))
    for first in range(0, num, rows):
        block = moved_back[first : first + rows].flatten(2)
        distance = block.square().sum(2, keepdim=True) + squares - 2 * block @ references.T
        nearest = distance.flatten(1).topk(num_neighbours, largest=False).indices
        candidate = nearest // len(references)
        votes = torch.zeros(len(block), num_candidates, device=block.device)
        # The nearest pair decides between equal numbers, by less than a vote.
        weights = votes.new_ones(num_neighbours)
        weights[0] += 0.5
        votes.scatter_add_(1, candidate, weights.expand(len(block), -1))
        found[first : first + rows] = votes.argmax(1)
    return found
