"""How far rollouts stray from the truth, step by step."""

import torch

from pipeline.metrics.differences import lengths


class Drift:
    """Sums over trajectories that come in batches, for steps 0 to `num_steps`.

    `errors` are mean distances |p_h - t_h| of prediction and truth; `typical` the root mean
    square distance of the truths of two trajectories at step h, which is the error of a
    prediction that knows nothing.
    """

    def __init__(self, num_steps: int) -> None:
        self.num = 0
        self._error_sums = torch.zeros(num_steps + 1, dtype=torch.float64)
        self._moments: tuple[torch.Tensor, torch.Tensor] | None = None

    def add(self, true: torch.Tensor, predicted: torch.Tensor) -> None:
        """Count latents (N, num_steps + 1, ...)."""
        num, num_times = true.shape[:2]
        true, predicted = (x.flatten(2).double().cpu() for x in (true, predicted))
        error = lengths((predicted - true).flatten(0, 1)).view(num, num_times)
        self._error_sums += error.sum(0)
        if self._moments is None:
            # From the first latent, so that their spread is not lost in their size.
            self._origin = true[:1].clone()
            zero = torch.zeros_like(true[0])
            self._moments = (zero, torch.zeros(num_times, dtype=torch.float64))
        moved = true - self._origin
        first, second = self._moments
        self._moments = (first + moved.sum(0), second + moved.square().sum((0, 2)))
        self.num += num

    @property
    def errors(self) -> torch.Tensor:
        """(num_steps + 1,) float64."""
        return self._error_sums / max(1, self.num)

    @property
    def typical(self) -> torch.Tensor:
        """(num_steps + 1,) float64."""
        if self._moments is None:
            return torch.zeros_like(self._error_sums)
        mean, square = (moment / self.num for moment in self._moments)
        return (2 * (square - mean.square().sum(1)).clamp_min(0)).sqrt()
