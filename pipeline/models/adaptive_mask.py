"""Adaptive latent disentanglement: which latent channels the group acts on.

One logit per channel, M = 1[sigmoid(logit) > tau], straight-through: the value
is exactly 0 or 1, the gradient that of the sigmoid (paper, "Adaptive Latent
Disentanglement"; script `rotated_mnist.py`). 1 means variant. Channels that the
group's action mixes share one logit: they are variant together or not at all.
"""

from collections.abc import Sequence

import torch
from torch import nn

from pipeline.models.settings import FixedMaskConfig, MaskConfig

INITIAL_SPREAD = 0.1


class AdaptiveMask(nn.Module):
    """A learnable binary mask over consecutive blocks of channels, threshold `tau` in (0, 1)."""

    block_of_channel: torch.Tensor | None

    def __init__(self, block_sizes: Sequence[int], tau: float) -> None:
        super().__init__()
        self.tau = tau
        self.logits = nn.Parameter(INITIAL_SPREAD * torch.randn(len(block_sizes)))
        blocks = torch.arange(len(block_sizes)).repeat_interleave(torch.tensor(block_sizes))
        is_single = max(block_sizes) == 1
        self.register_buffer("block_of_channel", None if is_single else blocks, persistent=False)

    def forward(self) -> torch.Tensor:
        """The mask, (C,) float, with straight-through gradients."""
        soft = self.logits.sigmoid()
        hard = (soft > self.tau).to(soft.dtype)
        return self._by_channel(hard + (soft - soft.detach()))

    @torch.no_grad()
    def is_variant(self) -> torch.Tensor:
        """Whether each channel is variant, (C,) bool."""
        return self._by_channel(self.logits.sigmoid() > self.tau)

    def _by_channel(self, values: torch.Tensor) -> torch.Tensor:
        return values if self.block_of_channel is None else values[self.block_of_channel]


class FixedMask(nn.Module):
    """The first blocks of channels are variant, for ever: a control.

    As many blocks as come nearest to `variant_fraction` of all of them.
    """

    mask: torch.Tensor

    def __init__(self, block_sizes: Sequence[int], variant_fraction: float) -> None:
        super().__init__()
        num_variant = round(len(block_sizes) * variant_fraction)
        blocks = torch.arange(len(block_sizes)) < num_variant
        mask = blocks.repeat_interleave(torch.tensor(block_sizes))
        self.register_buffer("mask", mask.float(), persistent=False)

    def forward(self) -> torch.Tensor:
        """The mask, (C,) float."""
        return self.mask

    def is_variant(self) -> torch.Tensor:
        """Whether each channel is variant, (C,) bool."""
        return self.mask > 0


def make_mask(
    config: MaskConfig, block_sizes: Sequence[int], tau: float
) -> AdaptiveMask | FixedMask:
    """The configured mask over consecutive blocks of channels."""
    if isinstance(config, FixedMaskConfig):
        return FixedMask(block_sizes, config.variant_fraction)
    return AdaptiveMask(block_sizes, tau)
