"""The paper's encoder with a second branch, whose channels know more of the frame.

A cell of the paper's latent sees 10 x 10 pixels. What a frame shows can be read from an
average over such cells only as far as its small parts tell it; the second branch looks
at the cells' neighbours before the average is taken.
"""

import torch
from torch import nn

from pipeline.models.autoencoder import ConvEncoder
from pipeline.models.residual import ResidualBlock
from pipeline.models.settings import ContextConfig, num_halvings


class ContextEncoder(nn.Module):
    """(N, C, H, W) to (N, width * 2^(depth-1) + context_channels, H / 2^depth, W / 2^depth)."""

    def __init__(self, config: ContextConfig, num_input: int, num_spatial: int) -> None:
        super().__init__()
        conv = nn.Conv2d if num_spatial == 2 else nn.Conv3d
        num_near = config.width * 2 ** (num_halvings(config) - 1)
        num_context = config.context_channels
        self.near = ConvEncoder(config, num_input, num_spatial)
        self.context = nn.Sequential(
            conv(num_near, num_context, 1),
            *(ResidualBlock(num_context, num_spatial) for _ in range(config.num_blocks)),
            nn.SiLU(),
            conv(num_context, num_context, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        near = self.near(x)
        return torch.cat([near, self.context(near)], 1)
