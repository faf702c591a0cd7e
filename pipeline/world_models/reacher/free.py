"""Networks of the reacher with nothing equivariant in them; S is also that of `ours`."""

from collections.abc import Sequence

import torch
from torch import nn

from pipeline.world_models.layers import OddMaxPool, convolution, mlp, normed


def free_embedding(
    num_in: int, num_out: int, channels: int, dilations: Sequence[int]
) -> nn.Sequential:
    """S: frames (B, C, s, s) to maps (B, num_out, s/4, s/4): dilated layers between two strides."""
    return nn.Sequential(
        *normed(convolution(num_in, channels, 3, stride=2, padding=1)),
        *(
            layer
            for d in dilations
            for layer in normed(convolution(channels, channels, 3, padding=d, dilation=d))
        ),
        convolution(channels, num_out, 3, stride=2, padding=1),
    )


def free_encoder(num_in: int, hidden: int, size: int) -> nn.Sequential:
    """E: maps to (B, size), through three convolutions with pooling and three 1x1 layers."""
    return nn.Sequential(
        *normed(convolution(num_in, hidden, 3, stride=2, padding=1)),
        OddMaxPool(),
        *normed(convolution(hidden, hidden, 3, stride=2, padding=1)),
        OddMaxPool(),
        *normed(convolution(hidden, hidden, 3, padding=1)),
        OddMaxPool(),
        *normed(convolution(hidden, hidden, 1)),
        *normed(convolution(hidden, hidden, 1)),
        convolution(hidden, size, 1),
        nn.Flatten(),
    )


class FreeReacherTransition(nn.Module):
    """T(z, a) = z + MLP(z, a) for latents (B, size) and two torques."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.mlp = mlp((size + 2, hidden, hidden, size))

    def forward(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        change: torch.Tensor = self.mlp(torch.cat((latent, action.to(latent.dtype)), 1))
        return latent + change
