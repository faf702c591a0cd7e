"""Networks of objects on a grid without equivariance, and how quarter turns act on their parts.

    e_ij = edge(z_i, z_j),  change of z_i = node(z_i, a_i, sum of e_ij over j other than i)

The same code makes free and equivariant networks: `layer(num_in, num_out)` makes a linear layer on
the last axis (or on fibre and last axis), `norm(num)` a layer norm.

The four positions of a fibre are directions: up, right, down, left. A counter-clockwise turn by k
quarters takes direction d to d - k, so that position d of the turned fibre holds the value of d +
k. Maps turn with the picture.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import nn

from orbit.core.actions import ActionComponent
from orbit.core.groups import Group
from pipeline.equivariant import GroupLinear, act_on_fibre
from pipeline.world_models.settings import GridModelConfig
from pipeline.world_models.world_model import convolution, mlp, normed


def act_on_maps(group: Group, y: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Maps (B, n, s, s), or (B, n, 4, s, s) with one for each heading, after g (B,) quarter
    turns."""
    moved = group.act_on_latent(y, g)
    return act_on_fibre(moved, g, group.name, dim=2) if y.ndim == 5 else moved


def act_on_latents(group: Group, z: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Latents (B, n, 4, c), or (B, n, 4 c) reshaped to it, after g (B,) quarter turns."""
    if z.ndim == 3:
        return act_on_fibre(z.unflatten(2, (4, -1)), g, group.name, dim=2).flatten(2)
    return act_on_fibre(z, g, group.name, dim=2)


NUM_DIRECTIONS = 4


def num_objects(components: Sequence[ActionComponent]) -> int:
    """Objects that the actions of a dataset can move; ValueError for other actions."""
    names = [component.name for component in components]
    if names != ["object", "direction"]:
        raise ValueError(
            f"task.model.name=grid needs actions of object and direction, not {', '.join(names)}"
        )
    return round(components[0].maximum) + 1


def one_hot(action: torch.Tensor, objects: int) -> torch.Tensor:
    """Rows [object, direction] (B, 2) to (B, objects, 4): 1 for the moved object's direction."""
    index = action[:, 0] * NUM_DIRECTIONS + action[:, 1]
    places = torch.arange(objects * NUM_DIRECTIONS, device=action.device)
    hot = (index.round()[:, None] == places).to(torch.float32)
    return hot.view(-1, objects, NUM_DIRECTIONS)


Layer = Callable[[int, int], nn.Linear | GroupLinear]


class GraphTransition(nn.Module):
    """T(z, a) = z + change, for latents z (B, n, ..., latent) and actions a (B, n, ..., action).

    Two exact simplifications: the edge network's first layer is linear in (z_i, z_j), so it is
    applied to n objects and not to n (n - 1) pairs; and its last layer is applied to the sum over
    j.
    """

    def __init__(
        self,
        layer: Layer,
        norm: Callable[[int], nn.Module],
        latent_size: int,
        action_size: int,
        hidden: int,
    ) -> None:
        super().__init__()
        joint = layer(2 * latent_size, hidden)
        self.receiver, self.sender = layer(latent_size, hidden), layer(latent_size, hidden)
        assert self.receiver.bias is not None
        assert joint.bias is not None
        with torch.no_grad():
            # Both halves are initialised like the layer on pairs.
            receiving, sending = joint.weight.split(latent_size, -1)
            self.receiver.weight.copy_(receiving)
            self.sender.weight.copy_(sending)
            self.receiver.bias.copy_(joint.bias)
        self.sender.register_parameter("bias", None)
        self.edge_hidden = nn.Sequential(nn.ReLU(), layer(hidden, hidden), norm(hidden), nn.ReLU())
        self.edge_output = layer(hidden, hidden)
        self.node = nn.Sequential(
            layer(latent_size + action_size + hidden, hidden),
            nn.ReLU(),
            layer(hidden, hidden),
            norm(hidden),
            nn.ReLU(),
            layer(hidden, latent_size),
        )

    def forward(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        pairs = self.receiver(latent).unsqueeze(2) + self.sender(latent).unsqueeze(1)
        messages = self.edge_hidden(without_self(pairs)).sum(2)
        num_others = latent.shape[1] - 1
        bias = self.edge_output.bias
        assert bias is not None
        received = self.edge_output(messages) + (num_others - 1) * bias
        change: torch.Tensor = self.node(torch.cat((latent, action, received), -1))
        return latent + change


def without_self(pairs: torch.Tensor) -> torch.Tensor:
    """(B, n, n, ...) without its diagonal: (B, n, n - 1, ...)."""
    batch, n = pairs.shape[:2]
    rest = pairs.shape[3:]
    # In the flattened array, every run of n + 1 entries starts with a diagonal one.
    off_diagonal = pairs.flatten(1, 2)[:, 1:].view(batch, n - 1, n + 1, *rest)[:, :, :-1]
    return off_diagonal.reshape(batch, n, n - 1, *rest)


def cell_layers(num_in: int, num_out: int, channels: int, cell: int) -> nn.Sequential:
    """Two layers that see one cell of `cell` x `cell` pixels at a time."""
    first = convolution(num_in, channels, cell, stride=cell)
    return nn.Sequential(*normed(first), convolution(channels, num_out, 1))


def pixel_layers(num_in: int, num_out: int, channels: int, pool: int) -> nn.Sequential:
    """Four 3x3 convolutions; with `pool` above 1 the first one's output is averaged over `pool` x
    `pool` pixels."""
    sizes = [num_in, channels, channels, channels]
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(pairwise(sizes)):
        layers += normed(convolution(before, after, 3, padding=1))
        if index == 0 and pool > 1:
            layers.append(nn.AvgPool2d(pool))
    return nn.Sequential(*layers, convolution(channels, num_out, 3, padding=1))


def make_embedding(
    config: GridModelConfig, frame_shape: tuple[int, ...], maps: tuple[int, ...]
) -> "FreeMaps":
    """S by its configuration; `maps` is (n,), or (n, 4) with a map for each heading."""
    num_in, side, _ = frame_shape
    num_out = math.prod(maps)
    if config.view == "cells":
        layers = cell_layers(num_in, num_out, config.channels, side // config.cells)
    else:
        layers = pixel_layers(num_in, num_out, config.channels, config.pool)
    return FreeMaps(layers, maps)


class FreeMaps(nn.Module):
    """S: images to maps in (0, 1), one or four for each object, (B, *maps, h, w)."""

    def __init__(self, layers: nn.Module, maps: tuple[int, ...]) -> None:
        super().__init__()
        self.layers, self._maps = layers, maps

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.layers(images)
        shaped: torch.Tensor = maps.sigmoid().unflatten(1, self._maps)
        return shaped


class FreeObjectEncoder(nn.Module):
    """E: the maps of each object (B, n, ..., h, w) to its numbers (B, n, size), by one MLP."""

    def __init__(self, num_values: int, hidden: int, size: int) -> None:
        super().__init__()
        self.mlp = mlp((num_values, hidden, hidden, size))

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        latent: torch.Tensor = self.mlp(embedding.flatten(2))
        return latent


class FreeGridTransition(nn.Module):
    """T: the graph network on latents (B, n, size) and one-hot directions."""

    def __init__(self, num_objects: int, size: int, hidden: int) -> None:
        super().__init__()
        self._num_objects = num_objects
        self.graph = GraphTransition(nn.Linear, nn.LayerNorm, size, 4, hidden)

    def forward(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        following: torch.Tensor = self.graph(latent, one_hot(action, self._num_objects))
        return following
