"""Networks of objects on a grid that commute with quarter turns: E and T of `ours`, S of `full`.

Latents are (B, n, 4, c): c copies of the regular representation for each object.
"""

from functools import partial

import torch
from torch import nn

from pipeline.global_batch import GlobalBatchNorm
from pipeline.world_models.fields.convolution import FieldConvolution
from pipeline.world_models.fields.linear import FibreLinear
from pipeline.world_models.fields.orbits import num_orbits, orbit_places, orbit_stack
from pipeline.world_models.grid.actions import one_hot
from pipeline.world_models.grid.graph import GraphTransition
from pipeline.world_models.settings import GridModelConfig

c4_linear = partial(FibreLinear, "c4")
c4_convolution = partial(FieldConvolution, "c4")


def make_embedding(
    config: GridModelConfig, frame_shape: tuple[int, ...], objects: int
) -> "SymmetricMaps":
    """S of `full`: convolutions between regular fields, `channels` of them."""
    num_in, side, _ = frame_shape
    fields = config.channels
    is_trivial = config.directions == "absolute"
    norm = partial(GlobalBatchNorm, fields)
    if config.view == "cells":
        cell = side // config.cells
        layers = [
            c4_convolution(num_in, fields, cell, stride=cell, from_trivial=True),
            norm(),
            nn.ReLU(),
            c4_convolution(fields, objects, 1, to_trivial=is_trivial),
        ]
    else:
        layers = [c4_convolution(num_in, fields, 3, padding=1, from_trivial=True)]
        layers += [norm(), nn.ReLU()]
        if config.pool > 1:
            layers.append(FieldAveragePool(config.pool))
        for _ in range(2):
            layers += [c4_convolution(fields, fields, 3, padding=1), norm(), nn.ReLU()]
        layers.append(c4_convolution(fields, objects, 3, padding=1, to_trivial=is_trivial))
    return SymmetricMaps(nn.Sequential(*layers))


class FieldAveragePool(nn.Module):
    """Regular fields (B, c, 4, s, s) averaged over squares of pixels that divide the map."""

    def __init__(self, pool: int) -> None:
        super().__init__()
        self._pool = (1, pool, pool)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool3d(x, self._pool)


class SymmetricMaps(nn.Module):
    """S: images to maps in (0, 1) that turn with the image."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.layers(images)
        return maps.sigmoid()


class SymmetricObjectEncoder(nn.Module):
    """E: the maps of each object to a latent (B, n, 4, c), by C4-convolutions on orbits.

    Place h of the first fibre holds the map after h turns, at one cell of each orbit; a map a
    heading turns its headings too.
    """

    places: torch.Tensor

    def __init__(self, side: int, has_headings: bool, hidden: int, copies: int) -> None:
        super().__init__()
        num_in = num_orbits(side) * (4 if has_headings else 1)
        self._has_headings = has_headings
        self.register_buffer("places", orbit_places(side), persistent=False)
        self.layers = nn.Sequential(
            c4_linear(num_in, hidden),
            nn.ReLU(),
            c4_linear(hidden, hidden),
            nn.LayerNorm(hidden),
            nn.ReLU(),
            c4_linear(hidden, copies),
        )

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        latent: torch.Tensor = self.layers(self.orbits(embedding))
        return latent

    def orbits(self, embedding: torch.Tensor) -> torch.Tensor:
        """Maps (B, n, s, s) or (B, n, 4, s, s) to fibres (B, n, 4, orbits), or 4 orbits."""
        if not self._has_headings:
            return orbit_stack(embedding, self.places)
        # (B, n, heading, turn, orbits): after h turns heading d shows what heading d + h was.
        stacked = orbit_stack(embedding, self.places)
        turned = [stacked[:, :, :, h].roll(-h, 2) for h in range(4)]
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
        self.graph = GraphTransition(c4_linear, nn.LayerNorm, copies, action_size, hidden)

    def forward(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        hot = one_hot(action, self._num_objects)
        if self._has_headings:
            fibres = hot[:, :, None].expand(-1, -1, 4, -1)
        else:
            fibres = hot[..., None]
        following: torch.Tensor = self.graph(latent, fibres)
        return following
