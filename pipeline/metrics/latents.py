"""Metrics of latents and matrices: spread, drift, traversals, circulant share.

A traversal has K poses, and the last one equals the first. From the latent of its start the model
predicts K steps, each from the previous prediction. Step k is a hit if pose k is strictly nearest
to it among all K encoded poses.
"""

import torch

from pipeline.metrics.images import lengths
from pipeline.metrics.ranking import squared_distances


def circulant_part(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest circulant matrix to (n, n), float64: means along the wrapped diagonals.

    A circulant C has C[i, j] = c[(j - i) mod n]; these matrices commute with cyclic shifts.
    """
    size = len(matrix)
    if matrix.shape != (size, size):
        raise ValueError(f"a matrix of {tuple(matrix.shape)} is not square")
    places = torch.arange(size, device=matrix.device)
    shift = (places[None] - places[:, None]) % size
    sums = matrix.new_zeros(size, dtype=torch.float64)
    sums.index_add_(0, shift.flatten(), matrix.double().flatten())
    return sums[shift] / size


def circulant_share(matrix: torch.Tensor) -> float:
    """Share of the sum of squared entries of (n, n) in its circulant part: 1 for a circulant
    matrix, 1/n for noise, 0 for zeros."""
    whole = float(matrix.double().square().sum())
    return float(circulant_part(matrix).square().sum()) / whole if whole > 0 else 0.0


class TypicalDistance:
    """Root mean square distance of the latents of two different states, which come in batches.

    It is sqrt(2) times the root mean square distance from their mean, because the mean of
    |z - z'|^2 over independent z and z' is twice the variance. A constant that is added to all
    latents does not change it.
    """

    def __init__(self, num_times: int = 1) -> None:
        self.num = 0
        self._first = torch.zeros(0)
        self._sums = torch.zeros(num_times, 0, dtype=torch.float64)
        self._squares = torch.zeros(num_times, dtype=torch.float64)

    def add(self, latents: torch.Tensor) -> None:
        """Add latents (N, num_times, ...)."""
        values = latents.flatten(2).double().cpu()
        if not self.num:
            # Relative to the first latent, so that a small spread is not lost in rounding.
            self._first, self._sums = values[:1].clone(), torch.zeros_like(values[0])
        moved = values - self._first
        self._sums += moved.sum(0)
        self._squares += moved.square().sum((0, 2))
        self.num += len(values)

    @property
    def value(self) -> torch.Tensor:
        """(num_times,) float64; 0 without latents."""
        mean, square = self._sums / max(1, self.num), self._squares / max(1, self.num)
        return (2 * (square - mean.square().sum(1)).clamp_min(0)).sqrt()


class Drift:
    """Sums over trajectories that come in batches, for steps 0 to `num_steps`.

    `errors` are mean distances |p_h - t_h| of prediction and truth; `typical` the root mean square
    distance of the truths of two trajectories at step h, which is the error of an uninformed
    prediction.
    """

    def __init__(self, num_steps: int) -> None:
        self.num = 0
        self._error_sums = torch.zeros(num_steps + 1, dtype=torch.float64)
        self._typical = TypicalDistance(num_steps + 1)

    def add(self, true: torch.Tensor, predicted: torch.Tensor) -> None:
        """Add latents (N, num_steps + 1, ...)."""
        num, num_times = true.shape[:2]
        true, predicted = (x.flatten(2).double().cpu() for x in (true, predicted))
        error = lengths((predicted - true).flatten(0, 1)).view(num, num_times)
        self._error_sums += error.sum(0)
        self._typical.add(true)
        self.num += num

    @property
    def errors(self) -> torch.Tensor:
        """(num_steps + 1,) float64."""
        return self._error_sums / max(1, self.num)

    @property
    def typical(self) -> torch.Tensor:
        """(num_steps + 1,) float64."""
        return self._typical.value


def latent_spread(latents: torch.Tensor) -> float:
    """Root mean square distance of latents (N, ...) from their mean; 0 if all are equal.

    `TypicalDistance` is sqrt(2) times this.
    """
    flat = latents.flatten(1).double()
    return float((flat - flat.mean(0)).square().sum(1).mean().sqrt())


def share_distinct(latents: torch.Tensor) -> float:
    """Number of different latents among (N, ...), by exact comparison, divided by N."""
    return len(torch.unique(latents.flatten(1), dim=0)) / len(latents)


def traversal_hits(poses: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
    """Whether each step is a hit, (T, K) bool, for latents (T, K, ...) of T traversals.

    `poses` are the encoded poses after 1 to K steps, `predicted` the rollouts.
    """
    if poses.shape != predicted.shape or poses.ndim < 3:
        raise ValueError(
            f"poses {tuple(poses.shape)} and predictions {tuple(predicted.shape)} do not pair up"
        )
    hits = torch.empty(poses.shape[:2], dtype=torch.bool, device=poses.device)
    for number, (candidates, steps) in enumerate(zip(poses, predicted, strict=True)):
        components = candidates.flatten(1).double().T.contiguous()
        distance = squared_distances(steps.flatten(1).double(), components)
        own = distance.diagonal()[:, None]
        hits[number] = (distance <= own).sum(1) == 1
    return hits
