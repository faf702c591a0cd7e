"""The evaluation of a `LatentActionModel` with the losses of a method of its own."""

from collections.abc import Callable, Sequence

import torch

from pipeline.data.packing import Batch, parts_of_pass
from pipeline.methods.latent_action.evaluation import LatentActionEvaluation
from pipeline.methods.latent_action.settings import LossWeights
from pipeline.models.latent_action import LatentActionModel

PairLosses = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Normalised images x and g x, and elements, to losses (T, N), one column a pair."""


class PairLossEvaluation(LatentActionEvaluation):
    """PSNR, similarity and errors of latents as for a latent action, and means of `losses`, which
    `names` names."""

    def __init__(
        self,
        model: LatentActionModel,
        names: Sequence[str],
        losses: PairLosses,
        seen_bins: tuple[str, ...] | None,
    ) -> None:
        super().__init__(model, LossWeights(), seen_bins=seen_bins)
        self._measured, self._names, self._of_pairs = model, tuple(names), losses
        self._own = self._losses.new_zeros(1 + len(self._names))

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        super().update(batch)
        model = self._measured
        for part in parts_of_pass(batch.source):
            images, wanted = (model.normalise(x[part]) for x in (batch.source, batch.target))
            g, valid = model.group.decode(batch.action[part]), batch.valid[part].double()
            losses = self._of_pairs(images, wanted, g).double()
            self._own += torch.cat([torch.ones_like(losses[:1]), losses]) @ valid

    def sums(self) -> torch.Tensor:
        return torch.cat([super().sums(), self._own])

    def metrics(self, sums: torch.Tensor) -> dict[str, float]:
        shared, own = sums.split([len(sums) - len(self._own), len(self._own)])
        count, *losses = own.tolist()
        found = {name: x / count for name, x in zip(self._names, losses, strict=True)}
        others = super().metrics(shared).items()
        return found | {n: x for n, x in others if not n.startswith(("loss/", "mask/"))}
