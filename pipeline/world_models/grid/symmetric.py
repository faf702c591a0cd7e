"""Networks of objects on a grid that commute with quarter turns: E and T of `ours`, S of `full`.

Latents are (B, n, 4, c): c copies of the regular representation for each object.
"""

from functools import partial

import torch
from torch import nn

from pipeline.equivariant import (
    FibreLayerNorm,
    FieldAvgPool2d,
    FieldBatchNorm2d,
    FieldType,
    GroupConv2d,
    GroupLinear,
    num_orbits,
    orbit_stack,
)
from pipeline.equivariant.group_conv import Basis
from pipeline.world_models.grid.actions import one_hot
from pipeline.world_models.grid.graph import GraphTransition
from pipeline.world_models.settings import GridModelConfig

c4_linear = partial(GroupLinear, "c4")


def make_embedding(
    config: GridModelConfig, frame_shape: tuple[int, ...], maps: tuple[int, ...]
) -> "SymmetricMaps":
    """S of `full`: convolutions between `channels` regular fields, to `maps` maps.

    `maps` is (n,): trivial fields, or (n, 4): regular ones, a map for each heading.
    """
    num_in, side, _ = frame_shape
    colours = FieldType("c4", "trivial", num_in)
    hidden = FieldType("c4", "regular", config.channels)
    output = FieldType("c4", "regular" if len(maps) == 2 else "trivial", maps[0])
    if config.view == "cells":
        cell = side // config.cells
        # There are no smooth kernels of two pixels a side.
        basis: Basis = "lattice" if cell == 2 else "steerable"
        first = GroupConv2d(colours, hidden, cell, stride=cell, basis=basis)
        return SymmetricMaps([*_normed(first), GroupConv2d(hidden, output, 1)], maps)
    layers = _normed(GroupConv2d(colours, hidden, 3, padding=1))
    if config.pool > 1:
        layers.append(FieldAvgPool2d(config.pool))
    for _ in range(2):
        layers += _normed(GroupConv2d(hidden, hidden, 3, padding=1))
    return SymmetricMaps([*layers, GroupConv2d(hidden, output, 3, padding=1)], maps)


def _normed(layer: GroupConv2d) -> list[nn.Module]:
    return [layer, FieldBatchNorm2d(layer.output), nn.ReLU()]


class SymmetricMaps(nn.Module):
    """S: images to maps in (0, 1) that turn with the image, (B, *maps, h, w)."""

    def __init__(self, layers: list[nn.Module], maps: tuple[int, ...]) -> None:
        super().__init__()
        self.layers, self._maps = nn.Sequential(*layers), maps

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.layers(images)
        shaped: torch.Tensor = maps.sigmoid().unflatten(1, self._maps)
        return shaped


class SymmetricObjectEncoder(nn.Module):
    """E: the maps of each object to a latent (B, n, 4, c), by C4-convolutions on orbits.

    Place h of the first fibre holds the map after h turns, at one cell of each orbit; a map a
    heading turns its headings too. `num_maps` maps of each object, (B, n, num_maps, s, s), each
    turn by themselves.
    """

    def __init__(
        self, side: int, has_headings: bool, hidden: int, copies: int, num_maps: int = 1
    ) -> None:
        super().__init__()
        num_in = num_orbits(side) * (4 if has_headings else num_maps)
        self._has_headings = has_headings
        self.layers = nn.Sequential(
            c4_linear(num_in, hidden),
            nn.ReLU(),
            c4_linear(hidden, hidden),
            FibreLayerNorm(hidden),
            nn.ReLU(),
            c4_linear(hidden, copies),
        )

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        stack = orbit_stack(embedding)
        if self._has_headings:
            stack = turned_headings(stack)
        elif embedding.ndim == 5:
            # (B, n, map, turn, orbits) to (B, n, turn, maps x orbits)
            stack = stack.transpose(2, 3).flatten(3)
        latent: torch.Tensor = self.layers(stack)
        return latent


def turned_headings(stack: torch.Tensor) -> torch.Tensor:
    """Orbits of maps a heading, (B, n, heading, turn h, orbits), to fibres (B, n, h, 4 orbits).

    After h turns heading d shows what heading d + h was.
    """
    turned = [stack[:, :, :, h].roll(-h, 2) for h in range(4)]
    return torch.stack(turned, 2).flatten(3)


class SymmetricGridTransition(nn.Module):
    """T: the graph network on latents (B, n, 4, c).

    Directions of the board are one channel of the regular representation; those relative to
    an object's heading do not turn: four trivial channels.
    """

    def __init__(self, num_objects: int, has_headings: bool, copies: int, hidden: int) -> None:
        super().__init__()
        self._num_objects, self._has_headings = num_objects, has_headings
        action_size = 4 if has_headings else 1
        self.graph = GraphTransition(c4_linear, FibreLayerNorm, copies, action_size, hidden)

    def forward(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        hot = one_hot(action, self._num_objects)
        fibres = hot[:, :, None].expand(-1, -1, 4, -1) if self._has_headings else hot[..., None]
        following: torch.Tensor = self.graph(latent, fibres)
        return following
