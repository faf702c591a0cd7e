"""Means of the loss terms since the last log line, without a sync in between."""

from collections.abc import Sequence

import torch

from pipeline.training.distributed import World

NEVER = 2**62


class NonFiniteLossError(Exception):
    """A loss, a validation or a weight was NaN or infinite; the message says which and when."""


class IntervalMeans:
    """Sums of per-step terms on the device, with the first step each was not finite.

    `state` and `load_state` carry it through a checkpoint, one row a rank.
    """

    def __init__(self, names: Sequence[str], world: World) -> None:
        self.names, self._world = tuple(names), world
        device = world.device
        self._sums = torch.zeros(len(self.names), dtype=torch.float64, device=device)
        self._first_bad = torch.full((len(self.names),), NEVER, dtype=torch.int64, device=device)
        self.count = 0

    def add(self, terms: torch.Tensor, step: int) -> None:
        """Add a step's terms (K,); `step` counts finished steps."""
        self._sums += terms
        bad = torch.where(terms.isfinite(), NEVER, step)
        self._first_bad = torch.minimum(self._first_bad, bad)
        self.count += 1

    def check_finite(self) -> None:
        """Raise NonFiniteLossError, on all ranks alike, if any term of any rank was not finite."""
        first_bad = self._world.all_gather(self._first_bad.cpu()).amin(0)
        if first_bad.min() == NEVER:
            return
        step = int(first_bad.min())
        guilty = [
            name for name, bad in zip(self.names, first_bad.tolist(), strict=True) if bad == step
        ]
        # The total follows from the others: name it only if it stands alone.
        causes = [name for name in guilty if name != "loss/total"] or guilty
        raise NonFiniteLossError(f"{', '.join(causes)} is not finite in step {step}")

    def means(self) -> dict[str, float]:
        """Mean of each term over the interval and the ranks."""
        total = self._world.all_reduce_sum(self._sums)
        values = (total / max(1, self.count * self._world.world_size)).tolist()
        return dict(zip(self.names, values, strict=True))

    def reset(self) -> None:
        """Begin a new interval."""
        self._sums.zero_()
        self.count = 0

    def state(self) -> dict[str, torch.Tensor]:
        """The sums of all ranks (W, K) and the number of steps in them."""
        return {
            "sums": self._world.all_gather(self._sums.cpu()),
            "count": torch.tensor(self.count),
        }

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Restore this rank's sums; with another number of ranks, their mean for every rank."""
        sums = state["sums"]
        same_ranks = len(sums) == self._world.world_size
        self._sums.copy_(sums[self._world.rank] if same_ranks else sums.mean(0))
        self.count = int(state["count"])
