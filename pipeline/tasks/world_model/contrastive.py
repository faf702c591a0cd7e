"""The contrastive loss of the paper, as its released code computes it.

    e(x, y)   = |x - y|^2 / (2 sigma^2)            mean over objects, sum over the rest
    positive  = mean_i e(T(z_i, a_i), z'_i)
    negative  = mean_i mean_j max(0, hinge - e(z_i, z_i+j))

and, ours,

    change_weight * mean_i max(0, hinge - e(z_i, z'_i))
    variant_weight * the share of S's outputs that a learned mask selects

Negatives differ in what no action changes (headings, backdrops), which is enough for the hinge:
the first of these terms asks for what actions do change. Where a state stays as it is the
energy is at its minimum of 0 and has no gradient, so that such records do no harm.

z are latents of current states, z' of next ones, z_i+j negatives (see `energy.py`). Squared
distances, where the paper's formula has norms; the hinge of each negative on its own, where
the released code averages the negatives' energies first (the same for one).

Current and next states go through S and E in two calls, as in the released code: batch norm
takes the statistics of each by itself, and its running statistics see both.
"""

import torch
from torch import nn

from pipeline.tasks.world_model.energy import energy, negatives
from pipeline.tasks.world_model.settings import ContrastiveConfig
from pipeline.world_models.world_model import WorldModel

TERM_NAMES = ("loss/total", "loss/positive", "loss/negative", "latent_spread", "latent_change")


class ContrastiveObjective(nn.Module):
    """Pulls predictions to the next latents, pushes latents of other states away."""

    def __init__(self, model: WorldModel, config: ContrastiveConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(
        self,
        source: torch.Tensor,
        target: torch.Tensor,
        action: torch.Tensor,
        label: torch.Tensor,
        valid: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss and the vector of `TERM_NAMES`; labels are not used.

        `latent_spread` is the mean energy of negatives without the hinge, `latent_change` that
        of each state and its next.
        """
        model, config = self.model, self.config
        latent, following = model.latent(source), model.latent(target)
        predicted = model.predict(latent, action)
        positive = energy(predicted, following, model.num_objects, config.sigma).mean()
        apart = torch.stack(
            [
                energy(latent, other, model.num_objects, config.sigma)
                for other in negatives(latent, config.num_negatives)
            ]
        )
        negative = (config.hinge - apart).clamp_min(0).mean()
        moved = energy(latent, following, model.num_objects, config.sigma)
        total = positive + negative
        if config.change_weight:
            total = total + config.change_weight * (config.hinge - moved).clamp_min(0).mean()
        if model.parts is not None and config.variant_weight:
            total = total + config.variant_weight * model.parts.mask().mean()
        return total, torch.stack([total, positive, negative, apart.mean(), moved.mean()]).detach()
