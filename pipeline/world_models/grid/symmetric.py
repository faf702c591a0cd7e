"""Networks of objects on a grid that commute with quarter turns, and the models made of them.

Latents are (B, n, 4, c): c copies of the regular representation for each object.

With a mask, the selected maps of an object (B, n, C, s, s) go through the C4-convolutions of E, and
T moves their latent. The others go through a free network, and no action changes its output. A
latent is (B, n, 4 c + k): c copies of the regular representation, position by position, then k
numbers that the group leaves alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from orbit.core.actions import ActionComponent
from orbit.core.groups import Group
from orbit.core.plugins import Kind
from orbit.core.store.manifest import FrameSpec, Manifest
from pipeline.equivariant import (
    FibreLayerNorm,
    FieldAvgPool2d,
    FieldBatchNorm2d,
    FieldType,
    GroupConv2d,
    GroupLinear,
    act_on_fibre,
    num_orbits,
    orbit_stack,
)
from pipeline.equivariant.group_layers import Basis
from pipeline.models.latent_action import AdaptiveMask
from pipeline.world_models.grid import networks as free
from pipeline.world_models.grid.networks import (
    GraphTransition,
    act_on_latents,
    act_on_maps,
    num_objects,
    one_hot,
)
from pipeline.world_models.settings import GridMaskConfig, GridModelConfig
from pipeline.world_models.world_model import WorldModel, mlp

c4_linear = partial(GroupLinear, "c4")


def make_embedding(
    config: GridModelConfig, frame_shape: tuple[int, ...], maps: tuple[int, ...]
) -> "SymmetricMaps":
    """S of `full`: convolutions between `channels` regular fields, to `maps` maps.

    `maps` is (n,) for trivial fields, or (n, 4) for regular ones with a map for each heading.
    """
    num_in, side, _ = frame_shape
    colours = FieldType("c4", "trivial", num_in)
    hidden = FieldType("c4", "regular", config.channels)
    output = FieldType("c4", "regular" if len(maps) == 2 else "trivial", maps[0])
    if config.view == "cells":
        cell = side // config.cells
        # Smooth kernels of two pixels a side do not exist.
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

    Position h of the first fibre holds the map after h turns, at one cell of each orbit; maps of
    headings also permute the headings. With `num_maps` maps of each object, (B, n, num_maps, s, s),
    each map turns separately.
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
    """Orbits of maps of headings, (B, n, heading, turn h, orbits), to fibres (B, n, h, 4 orbits).

    After h turns heading d holds the map of heading d + h.
    """
    turned = [stack[:, :, :, h].roll(-h, 2) for h in range(4)]
    return torch.stack(turned, 2).flatten(3)


class SymmetricGridTransition(nn.Module):
    """T: the graph network on latents (B, n, 4, c).

    Directions on the board are one channel of the regular representation; directions relative to an
    object's heading do not turn and are four trivial channels.
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


@dataclass(frozen=True)
class Parts:
    """The mask of a model, and how many numbers of each object's latent are variant."""

    mask: AdaptiveMask
    num_variant: int

    def split(self, latent: torch.Tensor) -> dict[str, torch.Tensor]:
        """`variant` and `invariant` of latents (N, n, 4 c + k)."""
        variant, invariant = latent[..., : self.num_variant], latent[..., self.num_variant :]
        return {"variant": variant, "invariant": invariant}


class MaskedObjectEncoder(nn.Module):
    """E: an object's variant maps by C4-convolutions, the others by an MLP."""

    def __init__(
        self, side: int, num_objects: int, config: GridMaskConfig, hidden: int, copies: int
    ) -> None:
        super().__init__()
        self._num_maps = config.num_maps
        self.mask = AdaptiveMask([1] * (num_objects * config.num_maps), config.tau)
        # For the convolutions, several maps of an object are like one map with more orbits.
        self.variant = SymmetricObjectEncoder(side, False, hidden, copies, num_maps=config.num_maps)
        num_values = config.num_maps * side * side
        self.invariant = mlp((num_values, hidden, hidden, config.invariant_size))

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        mask = self.mask().view(-1, self._num_maps, 1, 1)
        variant = self.variant(embedding * mask)
        invariant = self.invariant((embedding * (1 - mask)).flatten(2))
        return torch.cat((variant.flatten(2), invariant), -1)


class MaskedGridTransition(nn.Module):
    """T: the graph network on the variant part; the rest does not change."""

    def __init__(self, num_objects: int, copies: int, hidden: int) -> None:
        super().__init__()
        self._num_variant = 4 * copies
        self.variant = SymmetricGridTransition(num_objects, False, copies, hidden)

    def forward(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        variant = latent[..., : self._num_variant].unflatten(2, (4, -1))
        following = self.variant(variant, action).flatten(2)
        return torch.cat((following, latent[..., self._num_variant :].to(following.dtype)), -1)


def act_on_masked_maps(
    group: Group, mask: AdaptiveMask, y: torch.Tensor, g: torch.Tensor
) -> torch.Tensor:
    """Maps (B, n, C, s, s) after g (B,) quarter turns: variant maps turn with the picture."""
    is_variant = mask.is_variant().view(y.shape[1], y.shape[2], 1, 1)
    return torch.where(is_variant, group.act_on_latent(y, g), y)


def act_on_masked_latents(
    group: Group, num_variant: int, z: torch.Tensor, g: torch.Tensor
) -> torch.Tensor:
    """Latents (B, n, 4 c + k) after g (B,) quarter turns: the last k numbers do not change."""
    fibres = z[..., :num_variant].unflatten(2, (4, -1))
    turned = act_on_fibre(fibres, g, group.name, dim=2).flatten(2)
    return torch.cat((turned, z[..., num_variant:]), -1)


def make_grid_model(
    config: GridModelConfig, group: Group, frames: FrameSpec, actions: Sequence[ActionComponent]
) -> WorldModel:
    """The model of a grid world; raises ValueError if cells, pooling or actions do not fit the
    dataset."""
    objects = num_objects(actions)
    if config.mask is not None:
        return make_masked_model(config, config.mask, group, frames, objects)
    has_headings = config.directions == "relative"
    maps = (objects, 4) if has_headings else (objects,)
    side = map_side(config, frames)
    embedding: nn.Module
    if config.kind == "full":
        embedding = make_embedding(config, frames.shape, maps)
    else:
        embedding = free.make_embedding(config, frames.shape, maps)
    encoder: nn.Module
    transition: nn.Module
    if config.kind == "none":
        num_values = side * side * (4 if has_headings else 1)
        encoder = free.FreeObjectEncoder(num_values, config.hidden, config.latent_size)
        transition = free.FreeGridTransition(objects, config.latent_size, config.hidden)
    else:
        encoder = SymmetricObjectEncoder(side, has_headings, config.hidden, config.latent_size)
        transition = SymmetricGridTransition(
            objects, has_headings, config.latent_size, config.hidden
        )
    has_fibres = config.kind != "none" or config.latent_size % 4 == 0
    return WorldModel(
        group,
        frames,
        embedding,
        encoder,
        transition,
        partial(act_on_maps, group),
        partial(act_on_latents, group) if has_fibres else None,
        objects,
    )


def make_masked_model(
    config: GridModelConfig, mask: GridMaskConfig, group: Group, frames: FrameSpec, objects: int
) -> WorldModel:
    """`ours` with a learned mask over the maps of S."""
    embedding = free.make_embedding(config, frames.shape, (objects, mask.num_maps))
    encoder = MaskedObjectEncoder(
        map_side(config, frames), objects, mask, config.hidden, config.latent_size
    )
    transition = MaskedGridTransition(objects, config.latent_size, config.hidden)
    return WorldModel(
        group,
        frames,
        embedding,
        encoder,
        transition,
        partial(act_on_masked_maps, group, encoder.mask),
        partial(act_on_masked_latents, group, 4 * config.latent_size),
        objects,
        Parts(encoder.mask, 4 * config.latent_size),
    )


def map_side(config: GridModelConfig, frames: FrameSpec) -> int:
    """Cells a side of the embedding's maps; ValueError unless they divide the frame."""
    _, height, width = frames.shape
    if height != width:
        raise ValueError(f"task.model.name=grid needs square frames, not {height}x{width}")
    key, parts = ("cells", config.cells) if config.view == "cells" else ("pool", config.pool)
    if height % parts:
        raise ValueError(f"task.model.{key}={parts} does not divide frames of {height} pixels")
    return config.cells if config.view == "cells" else height // config.pool


def _make(config: GridModelConfig, group: Group, manifest: Manifest) -> WorldModel:
    """What actions mean is not in their shape: a wrong symmetry would train all the same."""
    wanted = manifest.facts.directions
    if wanted is not None and config.directions != wanted:
        raise ValueError(
            f"task.model.directions={config.directions} is wrong for the dataset"
            f" {manifest.name}; allowed: {wanted}"
        )
    return make_grid_model(config, group, manifest.frames, manifest.action)


MODEL = Kind("grid", GridModelConfig, _make)
