"""World models of reachers: free and equivariant under turns and mirrors of the plane.

Latents are (B, c, 8): c regular fields of D4, whose plane is one point.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from orbit.core.actions import ActionComponent
from orbit.core.groups import Group
from orbit.core.plugins import Kind
from orbit.core.store.manifest import FrameSpec
from pipeline.equivariant import (
    FieldBatchNorm2d,
    FieldType,
    GroupConv2d,
    GroupLinear,
    act_on_fibre,
    act_on_fields,
)
from pipeline.world_models.settings import ReacherModelConfig
from pipeline.world_models.world_model import OddMaxPool, WorldModel, convolution, mlp, normed


def act_on_maps(group: Group, is_regular: bool, y: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Maps (B, c, s, s), or regular fields (B, 8 c, s, s), after elements g (B,)."""
    if not is_regular:
        return group.act_on_latent(y, g)
    return act_on_fields(y, g, FieldType(group.name, "regular", y.shape[1] // 8))


def act_on_latents(group: Group, z: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Latents (B, c, 8), or (B, 8 c) reshaped to it, after elements g (B,)."""
    if z.ndim == 2:
        return act_on_fibre(z.unflatten(1, (-1, 8)), g, group.name, dim=2).flatten(1)
    return act_on_fibre(z, g, group.name, dim=2)


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


NUM_TORQUES = 2

trivial, regular = partial(FieldType, "d4", "trivial"), partial(FieldType, "d4", "regular")


def _normed(layer: GroupConv2d) -> list[nn.Module]:
    return [layer, FieldBatchNorm2d(layer.output), nn.ReLU()]


def symmetric_embedding(
    num_in: int, num_out: int, num_fields: int, dilations: Sequence[int]
) -> nn.Sequential:
    """S of `full`: frames (B, C, s, s) to regular fields (B, 8 num_out, s/4, s/4)."""
    hidden = regular(num_fields)
    return nn.Sequential(
        *_normed(GroupConv2d(trivial(num_in), hidden, 3, stride=2, padding=1)),
        *(
            layer
            for d in dilations
            for layer in _normed(GroupConv2d(hidden, hidden, 3, padding=d, dilation=d))
        ),
        GroupConv2d(hidden, regular(num_out), 3, stride=2, padding=1),
    )


def symmetric_encoder(embedding: FieldType, num_fields: int, size: int) -> nn.Sequential:
    """E: fields (B, channels, s, s) to latents (B, size, 8)."""
    hidden = regular(num_fields)
    return nn.Sequential(
        *_normed(GroupConv2d(embedding, hidden, 3, stride=2, padding=1)),
        OddMaxPool(),
        *_normed(GroupConv2d(hidden, hidden, 3, stride=2, padding=1)),
        OddMaxPool(),
        *_normed(GroupConv2d(hidden, hidden, 3, padding=1)),
        OddMaxPool(),
        *_normed(GroupConv2d(hidden, hidden, 1)),
        *_normed(GroupConv2d(hidden, hidden, 1)),
        GroupConv2d(hidden, regular(size), 1),
        nn.Flatten(1),
        nn.Unflatten(1, (size, 8)),
    )


class SymmetricReacherTransition(nn.Module):
    """T(z, a) = z + MLP(z, a) for latents (B, c, 8) and two torques, which mirrors reverse.

    A torque t enters as the fibre (t, -t) of the quotient D4 / C4, whose two values mirrors
    exchange.
    """

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.latent = GroupLinear("d4", size, hidden)
        self.torques = GroupLinear("d4", NUM_TORQUES, hidden, input="quotient", bias=False)
        self.rest = nn.Sequential(
            nn.ReLU(),
            GroupLinear("d4", hidden, hidden),
            nn.ReLU(),
            GroupLinear("d4", hidden, size),
        )

    def forward(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        torques = torch.stack((action, -action), 1)
        change: torch.Tensor = self.rest(self.latent(latent.mT) + self.torques(torques))
        return latent + change.mT


SIDES = (33, 65, 129)
"""Sides that the layers reduce to one cell, keeping the centre at every stride."""


def make_reacher_model(
    config: ReacherModelConfig,
    group: Group,
    frames: FrameSpec,
    actions: Sequence[ActionComponent],
) -> WorldModel:
    """The model of a reacher; raises ValueError if frames or actions do not fit the networks."""
    num_in, height, width = frames.shape
    if height != width or height not in SIDES:
        raise ValueError(
            f"task.model.name=reacher needs frames of 33, 65 or 129 pixels a side,"
            f" not {height}x{width}: strides keep the centre of odd sides only"
        )
    if len(actions) != 2:
        raise ValueError(f"task.model.name=reacher needs two torques, not {len(actions)} numbers")
    embedding: nn.Module
    encoder: nn.Module
    transition: nn.Module
    if config.kind == "full":
        embedding = symmetric_embedding(
            num_in, config.embedding_size, config.channels, config.dilations
        )
    else:
        embedding = free_embedding(num_in, config.embedding_size, config.channels, config.dilations)
    if config.kind == "none":
        encoder = free_encoder(config.embedding_size, config.hidden, config.latent_size)
        transition = FreeReacherTransition(config.latent_size, config.hidden)
    else:
        seen = regular if config.kind == "full" else trivial
        encoder = symmetric_encoder(seen(config.embedding_size), config.hidden, config.latent_size)
        transition = SymmetricReacherTransition(config.latent_size, config.hidden)
    has_fibres = config.kind != "none" or config.latent_size % 8 == 0
    return WorldModel(
        group,
        frames,
        embedding,
        encoder,
        transition,
        partial(act_on_maps, group, config.kind == "full"),
        partial(act_on_latents, group) if has_fibres else None,
    )


MODEL = Kind(
    "reacher",
    ReacherModelConfig,
    lambda config, group, manifest: make_reacher_model(
        config, group, manifest.frames, manifest.action
    ),
)
