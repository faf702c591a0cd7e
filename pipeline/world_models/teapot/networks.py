"""S to rotations, and the transitions: a product (`ours`) or an MLP (`none`)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from pipeline.world_models.layers import convolution, mlp, normed
from pipeline.world_models.teapot.rotations import action_matrix, gram_schmidt, multiply


def side_after(side: int, num_convolutions: int) -> int:
    """Side of a map after convolutions that halve it, rounding up."""
    for _ in range(num_convolutions):
        side = -(-side // 2)
    return side


class RotationEmbedding(nn.Module):
    """Down-sampling convolutions, three linear layers, Gram-Schmidt: images to (B, 3, 3)."""

    def __init__(self, frame_shape: tuple[int, ...], channels: Sequence[int], hidden: int) -> None:
        super().__init__()
        num_channels, height, width = frame_shape
        sizes = [num_channels, *channels]
        self.convolutions = nn.Sequential(
            *(
                layer
                for num_in, num_out in pairwise(sizes)
                for layer in normed(convolution(num_in, num_out, 3, stride=2, padding=1))
            )
        )
        cells = side_after(height, len(channels)) * side_after(width, len(channels))
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels[-1] * cells, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 6),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return gram_schmidt(self.head(self.convolutions(images)))


class ProductTransition(nn.Module):
    """T(z, a) = a z, without parameters."""

    def forward(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return multiply(action_matrix(action), latent)


class FreeRotationTransition(nn.Module):
    """T(z, a) = z + MLP(z, a), both as nine numbers; the sum is no rotation by force."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mlp = mlp((18, hidden, hidden, 9))

    def forward(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        inputs = torch.cat((latent.flatten(1), action_matrix(action).flatten(1)), 1)
        change: torch.Tensor = self.mlp(inputs)
        return latent + change.view_as(latent)
