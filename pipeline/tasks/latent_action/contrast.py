"""A contrastive loss that tells images apart by what the group acts on, wherever it is.

InfoNCE in both directions between rows a_n (pooled z_v of x_n) and b_n (that of a deformed
view of g x_n), after a projector and of length 1:

    -1/2 mean_n [ log softmax_m (a_n . b_m / t)_n  +  log softmax_m (b_n . a_m / t)_n ]

The mean over the latent's cells is the same for every element of a group that moves
cells, so that z_v can keep all that the group acts on and still be read without its pose.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from pipeline.compiling import not_compiled
from pipeline.global_batch import gather_rows
from pipeline.global_batch.draws import uniform_rows
from pipeline.global_batch.ranks import rank_number
from pipeline.models.latent_action import LatentActionModel
from pipeline.tasks.latent_action.settings import ViewsContrastConfig
from pipeline.tasks.latent_action.views import NUM_DRAWS, deform


class ViewsContrast(nn.Module):
    """Draws its views from `seed` and `step`, which counts optimiser steps."""

    def __init__(self, model: LatentActionModel, config: ViewsContrastConfig, seed: int) -> None:
        super().__init__()
        self.model, self.config = model, config
        self._seed, self.step = seed, 0

    def forward(self, variant: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of z_v of x, (N, C, h, w), and normalised g x, (N, C, H, W)."""
        views = deform(target, self._draws(target), self.config)
        rows = self._project(variant), self._project(self.model.encode(views).variant)
        return info_nce(*rows, self.config.temperature)

    def _project(self, variant: torch.Tensor) -> torch.Tensor:
        assert self.model.projector is not None
        projected = self.model.projector(variant.flatten(2).mean(2))
        return normalize(projected.float(), dim=1)

    @not_compiled
    def _draws(self, target: torch.Tensor) -> torch.Tensor:
        drawn: torch.Tensor = uniform_rows(
            self._seed, self.step, len(target), NUM_DRAWS, target.device
        )
        return drawn


def info_nce(first: torch.Tensor, second: torch.Tensor, temperature: float) -> torch.Tensor:
    """The loss above, of this rank's rows (N, D) of length 1, against those of all ranks.

    In float32 whatever autocast says.
    """
    own = rank_number() * len(first) + torch.arange(len(first), device=first.device)
    with torch.autocast(first.device.type, enabled=False):
        one_way = cross_entropy(first @ gather_rows(second).T / temperature, own)
        other_way = cross_entropy(second @ gather_rows(first).T / temperature, own)
    return (one_way + other_way) / 2
