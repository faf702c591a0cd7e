"""World models of a turning object: S maps to rotations; the transition is a product or an MLP.

Products are written out, because mixed precision would round a matrix product.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import normalize

from orbit.core.groups import Group, quaternions
from orbit.core.plugins import Kind
from orbit.core.store.manifest import FrameSpec
from pipeline.world_models.settings import TeapotModelConfig
from pipeline.world_models.world_model import WorldModel, convolution, mlp, normed

MIN_LENGTH = 1e-6


def gram_schmidt(vectors: torch.Tensor) -> torch.Tensor:
    """The rotation whose first columns span what u and v, (B, 6) or (B, 2, 3), span.

    u' = u / |u|, v' = v - (u' . v) u' scaled to length 1, w' = u' x v'; columns u', v', w'.
    """
    u, v = vectors.float().reshape(-1, 2, 3).unbind(1)
    u = normalize(u, dim=-1, eps=MIN_LENGTH)
    v = normalize(v - (u * v).sum(-1, keepdim=True) * u, dim=-1, eps=MIN_LENGTH)
    return torch.stack((u, v, torch.linalg.cross(u, v)), -1)


def multiply(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The matrix product of batches of 3x3 matrices."""
    return (first.float()[..., None] * second.float()[..., None, :, :]).sum(-2)


def action_matrix(action: torch.Tensor) -> torch.Tensor:
    """Rotation matrices of action vectors (B, 4), quaternions of any length."""
    action = action.float()
    return quaternions.to_matrix(action / action.norm(dim=-1, keepdim=True))


def act_by_multiplying(matrices: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """g z for unit quaternions g: how SO(3) acts on embeddings and latents."""
    return multiply(quaternions.to_matrix(g.float()), matrices)


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
    """T(z, a) = z + MLP(z, a), both as nine numbers; the sum need not be a rotation."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mlp = mlp((18, hidden, hidden, 9))

    def forward(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        inputs = torch.cat((latent.flatten(1), action_matrix(action).flatten(1)), 1)
        change: torch.Tensor = self.mlp(inputs)
        return latent + change.view_as(latent)


def make_teapot_model(config: TeapotModelConfig, group: Group, frames: FrameSpec) -> WorldModel:
    """The model of the teapot: both kinds map frames to rotations and differ in the transition."""
    transition: nn.Module = ProductTransition()
    if config.transition_hidden is not None:
        transition = FreeRotationTransition(config.transition_hidden)
    return WorldModel(
        group,
        frames,
        RotationEmbedding(frames.shape, config.channels, config.hidden),
        nn.Identity(),
        transition,
        act_by_multiplying,
        act_by_multiplying,
    )


MODEL = Kind(
    "teapot",
    TeapotModelConfig,
    lambda config, group, manifest: make_teapot_model(config, group, manifest.frames),
)
