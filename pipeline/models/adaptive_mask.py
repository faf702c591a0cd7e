"""Adaptive latent disentanglement: which latent channels the group acts on.

One logit per channel, M = 1[sigmoid(logit) > tau], straight-through: the value
is exactly 0 or 1, the gradient that of the sigmoid (paper, "Adaptive Latent
Disentanglement"; script `rotated_mnist.py`). 1 means variant.
"""

import torch
from torch import nn

INITIAL_SPREAD = 0.1


class AdaptiveMask(nn.Module):
    """A learnable binary mask over `num_channels` channels with threshold `tau` in (0, 1)."""

    def __init__(self, num_channels: int, tau: float) -> None:
        super().__init__()
        self.tau = tau
        self.logits = nn.Parameter(INITIAL_SPREAD * torch.randn(num_channels))

    def forward(self) -> torch.Tensor:
        """The mask, (C,) float, with straight-through gradients."""
        soft = self.logits.sigmoid()
        hard = (soft > self.tau).to(soft.dtype)
        return hard + (soft - soft.detach())

    @torch.no_grad()
    def is_variant(self) -> torch.Tensor:
        """Whether each channel is variant, (C,) bool."""
        return self.logits.sigmoid() > self.tau
