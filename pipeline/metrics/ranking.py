"""The rank of each prediction among all for its true latent: hits at k, mean reciprocal rank.

With true latents t_i and predictions p_j, and d_ij = |t_i - p_j|^2 of flattened latents, each true
latent ranks all predictions (Park et al., Symmetric Embeddings, "Hits and MRR"):

    rank_i = 1 + number of j != i with d_ij < d_ii

A prediction of another episode that is as near does not lower the rank, so that an encoder with
equal latents has rank 1 everywhere. `num_tied` distinguishes such hits from others.

    rank_i = 1 + number of n with |p_i - f(s'_in)| <= |p_i - t_i|

Here the prediction ranks the true state and its own negatives. A negative that is as near as the
truth lowers the rank, so that equal latents are never hits.
"""

from typing import NamedTuple

import torch

from pipeline.metrics.images import lengths

BLOCK_VALUES = 1 << 20


class Ranks(NamedTuple):
    """`rank` (N,) int64 from 1; `num_tied` (N,) int64, the number of other predictions at exactly
    the same distance as the episode's own prediction."""

    rank: torch.Tensor
    num_tied: torch.Tensor


def rank_predictions(
    true: torch.Tensor, predicted: torch.Tensor, block_values: int = BLOCK_VALUES
) -> Ranks:
    """Rank of each own prediction among all, for latents (N, ...) of one shape.

    Distances are sums of squared differences in float64, a block of rows of `block_values`
    distances at a time: |a|^2 - 2ab + |b|^2 would be faster for long latents but may order close
    ones wrongly. ValueError for shapes that differ.
    """
    if true.shape != predicted.shape:
        raise ValueError(f"latents {tuple(true.shape)} and {tuple(predicted.shape)} do not pair up")
    num = len(true)
    rows = max(1, block_values // max(num, 1))
    # One component of all latents after the other, so that no array has three axes.
    components = predicted.flatten(1).double().T.contiguous()
    result = Ranks(*(torch.empty(num, dtype=torch.int64, device=true.device) for _ in range(2)))
    for first in range(0, num, rows):
        block = true[first : first + rows].flatten(1).double()
        distance = squared_distances(block, components)
        own = distance.diagonal(first)[:, None]
        places = slice(first, first + rows)
        result.rank[places] = 1 + (distance < own).sum(1)
        result.num_tied[places] = (distance == own).sum(1) - 1
    return result


def squared_distances(points: torch.Tensor, components: torch.Tensor) -> torch.Tensor:
    """Squared distances (B, N) of points (B, D) to others given by component, (D, N).

    Square and sum are rounded separately: some processors round a combined operation once, at some
    positions only, and then equal predictions would have different distances.
    """
    distance = points.new_zeros(len(points), components.shape[1])
    difference = torch.empty_like(distance)
    for index, component in enumerate(components):
        torch.sub(points[:, index, None], component, out=difference)
        distance.add_(difference.square_())
    return distance


def hits_at(k: int, rank: torch.Tensor) -> float:
    """Share of ranks (N,) that are at most k."""
    return float((rank <= k).double().mean())


def mean_reciprocal_rank(rank: torch.Tensor) -> float:
    """Mean of 1 / rank over ranks (N,); at least `hits_at(k, rank) / k`."""
    return float((1 / rank.double()).mean())


def hard_ranks(
    true: torch.Tensor, predicted: torch.Tensor, negatives: torch.Tensor
) -> torch.Tensor:
    """Ranks (N,) int64 from 1 of true latents (N, ...) among their negatives (N, K, ...)."""
    num, count = negatives.shape[:2]
    if true.shape != predicted.shape or negatives.shape != (num, count, *true.shape[1:]):
        raise ValueError(
            f"latents {tuple(true.shape)}, {tuple(predicted.shape)} and negatives"
            f" {tuple(negatives.shape)} do not belong together"
        )
    own = lengths(predicted.double() - true.double())
    differences = predicted.double()[:, None] - negatives.double()
    others = lengths(differences.flatten(0, 1)).view(num, count)
    return 1 + (others <= own[:, None]).sum(1)


class LabelCounts(NamedTuple):
    """True and false positives and negatives; they can be added over batches."""

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0
    true_negative: int = 0

    def plus(self, other: "LabelCounts") -> "LabelCounts":
        return LabelCounts(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def accuracy(self) -> float:
        """Share of correct labels."""
        return (self.true_positive + self.true_negative) / max(1, sum(self))

    @property
    def f1(self) -> float:
        """2 tp / (2 tp + fp + fn); 1 if there are neither true nor predicted positives."""
        wrong = self.false_positive + self.false_negative
        if self.true_positive == 0:
            return float(wrong == 0)
        return 2 * self.true_positive / (2 * self.true_positive + wrong)


def count_labels(said: torch.Tensor, true: torch.Tensor) -> LabelCounts:
    """Counts over two bool tensors of one shape."""
    both, either = int((said & true).sum()), int((said | true).sum())
    num_said, num_true = int(said.sum()), int(true.sum())
    return LabelCounts(both, num_said - both, num_true - both, said.numel() - either)
