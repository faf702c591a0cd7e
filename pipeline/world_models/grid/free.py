"""Networks of objects on a grid with nothing equivariant in them; S is also that of `ours`."""

import math
from itertools import pairwise

import torch
from torch import nn

from pipeline.world_models.grid.actions import one_hot
from pipeline.world_models.grid.graph import GraphTransition
from pipeline.world_models.layers import convolution, mlp, normed
from pipeline.world_models.settings import GridModelConfig


def cell_layers(num_in: int, num_out: int, channels: int, cell: int) -> nn.Sequential:
    """Two layers that see one cell of `cell` x `cell` pixels at a time."""
    first = convolution(num_in, channels, cell, stride=cell)
    return nn.Sequential(*normed(first), convolution(channels, num_out, 1))


def pixel_layers(num_in: int, num_out: int, channels: int, pool: int) -> nn.Sequential:
    """Four 3x3 convolutions; with `pool` above 1 the first is averaged over so many pixels."""
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
    """S by its configuration; `maps` is (n,), or (n, 4) with a map a heading."""
    num_in, side, _ = frame_shape
    num_out = math.prod(maps)
    if config.view == "cells":
        layers = cell_layers(num_in, num_out, config.channels, side // config.cells)
    else:
        layers = pixel_layers(num_in, num_out, config.channels, config.pool)
    return FreeMaps(layers, maps)


class FreeMaps(nn.Module):
    """S: images to maps in (0, 1), one an object or four, (B, *maps, h, w)."""

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
