"""Actions of a group on the variant part of a latent.

Each action is a module called with latents (N, C, ...) and elements, one each.
`block_sizes` lists, in order, how many consecutive channels it mixes with each other.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn

from orbit.core import plugins
from orbit.core.groups import Group
from orbit.core.groups.irreps import antisymmetric_exponential
from pipeline.models.settings import (
    LatentActionSettings,
    LearnedActionConfig,
    RepresentationActionConfig,
    SpatialActionConfig,
)

DEFAULT_FREQUENCY = 2


class SpatialAction(nn.Module):
    """Latent cells move like pixels; channels are not mixed (script `rotated_mnist.py`)."""

    def __init__(self, group: Group, num_channels: int) -> None:
        super().__init__()
        self.group = group
        self.block_sizes = (1,) * num_channels

    def forward(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return self.group.act_on_latent(latent, g)


class RepresentationAction(nn.Module):
    """Channels are mixed by irreducible representations, with as many copies of all as fit.

    The trivial representation is not used, because the mask's invariant part has this role;
    leftover channels do not change. Raises ValueError if there are too few channels for one copy.
    """

    def __init__(self, group: Group, num_channels: int, max_frequency: int | None) -> None:
        super().__init__()
        if group.num_elements is not None and max_frequency is not None:
            raise ValueError(
                f"task.action.max_frequency={max_frequency} has no effect: {group.name} is finite"
                " and has all its representations"
            )
        max_frequency = DEFAULT_FREQUENCY if max_frequency is None else max_frequency
        _, *self.irreps = group.irreps(max_frequency)
        size = sum(irrep.size for irrep in self.irreps)
        self.num_copies = num_channels // size
        if self.num_copies == 0:
            raise ValueError(
                f"task.action: the representations of {group.name} up to {max_frequency} need"
                f" {size} latent channels, and there are {num_channels}"
            )
        self.num_over = num_channels - self.num_copies * size
        sizes = [irrep.size for irrep in self.irreps for _ in range(self.num_copies)]
        self.block_sizes = (*sizes, *(1,) * self.num_over)

    def forward(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        parts = latent.split([*(i.size * self.num_copies for i in self.irreps), self.num_over], 1)
        moved = [
            _act_on_blocks(irrep.matrix(g).to(part.dtype).unsqueeze(1), part)
            for irrep, part in zip(self.irreps, parts, strict=False)
        ]
        return torch.cat([*moved, parts[-1]], dim=1)


class LearnedAction(nn.Module):
    """Blocks of channels are mixed by orthogonal matrices exp(A(g)) that a network computes from g.

    A(g) = f(action vector of g) - f(that of the identity), made skew-symmetric: the identity
    changes no latent. Raises ValueError if blocks do not divide the channels.
    """

    identity_vector: torch.Tensor
    scale: torch.Tensor
    places: torch.Tensor

    def __init__(self, group: Group, num_channels: int, block_size: int, hidden: int) -> None:
        super().__init__()
        if num_channels % block_size:
            raise ValueError(
                f"task.action.block_size={block_size} does not divide"
                f" {num_channels} latent channels"
            )
        self.group, self.block_size = group, block_size
        self.num_blocks = num_channels // block_size
        self.block_sizes = (block_size,) * self.num_blocks
        num_inputs = len(group.action_components)
        num_angles = block_size * (block_size - 1) // 2
        self.network = nn.Sequential(
            nn.Linear(num_inputs, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            # A bias would cancel in the difference to the identity.
            nn.Linear(hidden, self.num_blocks * num_angles, bias=False),
        )
        scale = [max(abs(c.minimum), abs(c.maximum), 1e-6) for c in group.action_components]
        self.register_buffer("scale", torch.tensor(scale), persistent=False)
        self.register_buffer("identity_vector", group.encode(group.identity(1)), persistent=False)
        self.register_buffer(
            "places", torch.triu_indices(block_size, block_size, 1), persistent=False
        )

    def matrices(self, g: torch.Tensor) -> torch.Tensor:
        """Orthogonal matrices (N, num_blocks, block_size, block_size), float32."""
        vectors = torch.cat([self.identity_vector, self.group.encode(g)]) / self.scale
        angles = self.network(vectors).float()
        angles = (angles[1:] - angles[:1]).view(len(g), self.num_blocks, -1)
        size = (len(g), self.num_blocks, self.block_size, self.block_size)
        upper = angles.new_zeros(size)
        upper[..., self.places[0], self.places[1]] = angles
        return antisymmetric_exponential(upper - upper.mT)

    def forward(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return _act_on_blocks(self.matrices(g).to(latent.dtype), latent)


LatentAction = SpatialAction | RepresentationAction | LearnedAction


Shape = Sequence[int]


def make_action(
    config: LatentActionSettings, group: Group, frame_shape: Shape, latent_shape: Shape
) -> LatentAction:
    """The configured action; ValueError if the group cannot act in this way on such latents."""
    kind = plugins.kind_of("actions", ACTIONS, config)
    action: LatentAction = kind.make(config, group, frame_shape, latent_shape)
    return action


def _make_spatial(
    config: SpatialActionConfig, group: Group, frame_shape: Shape, latent_shape: Shape
) -> SpatialAction:
    if math.prod(latent_shape[1:]) == 1:
        raise ValueError(
            "task.action.name=spatial has no effect on a latent of one cell:"
            " choose representation or learned"
        )
    group.check_spatial_shape(tuple(frame_shape[1:]))
    group.check_latent_shape(tuple(latent_shape[1:]))
    return SpatialAction(group, latent_shape[0])


def _make_representation(
    config: RepresentationActionConfig, group: Group, frame_shape: Shape, latent_shape: Shape
) -> RepresentationAction:
    _check_vector(config, latent_shape)
    return RepresentationAction(group, latent_shape[0], config.max_frequency)


def _make_learned(
    config: LearnedActionConfig, group: Group, frame_shape: Shape, latent_shape: Shape
) -> LearnedAction:
    _check_vector(config, latent_shape)
    return LearnedAction(group, latent_shape[0], config.block_size, config.hidden)


ACTIONS = plugins.by_name(
    plugins.Kind("spatial", SpatialActionConfig, _make_spatial),
    plugins.Kind("representation", RepresentationActionConfig, _make_representation),
    plugins.Kind("learned", LearnedActionConfig, _make_learned),
)
"""`make` takes config, group, the shape of a frame and that of a latent; it gives a module that is
called with latents and elements and has `block_sizes`."""


def _check_vector(config: LatentActionSettings, latent_shape: Shape) -> None:
    num_cells = math.prod(latent_shape[1:])
    if num_cells != 1:
        raise ValueError(
            f"task.action.name={config.name} mixes channels and moves no latent cell, and this"
            f" latent has {num_cells}: set task.model.vector_size"
        )


def _act_on_blocks(matrices: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
    """Matrices (N, M or 1, s, s) times blocks of s channels of latents (N, M s, ...)."""
    size = matrices.shape[-1]
    blocks = latent.reshape(len(latent), -1, size, math.prod(latent.shape[2:]))
    return (matrices @ blocks).reshape(latent.shape)
