"""The world model of objects on a grid from its configuration."""

from collections.abc import Sequence
from functools import partial

from torch import nn

from data_prep.store.manifest import FrameSpec
from pipeline.groups import Group
from pipeline.groups.interface import ActionComponent
from pipeline.world_models.grid import free, masked, symmetric
from pipeline.world_models.grid.actions import num_objects
from pipeline.world_models.grid.representations import act_on_latents, act_on_maps
from pipeline.world_models.settings import GridMaskConfig, GridModelConfig
from pipeline.world_models.world_model import WorldModel


def make_grid_model(
    config: GridModelConfig, group: Group, frames: FrameSpec, actions: Sequence[ActionComponent]
) -> WorldModel:
    """Raises ValueError where cells, pooling or actions do not fit the dataset."""
    objects = num_objects(actions)
    if config.mask is not None:
        return make_masked_model(config, config.mask, group, frames, objects)
    has_headings = config.directions == "relative"
    maps = (objects, 4) if has_headings else (objects,)
    side = map_side(config, frames)
    embedding: nn.Module
    if config.kind == "full":
        embedding = symmetric.make_embedding(config, frames.shape, maps)
    else:
        embedding = free.make_embedding(config, frames.shape, maps)
    encoder: nn.Module
    transition: nn.Module
    if config.kind == "none":
        num_values = side * side * (4 if has_headings else 1)
        encoder = free.FreeObjectEncoder(num_values, config.hidden, config.latent_size)
        transition = free.FreeGridTransition(objects, config.latent_size, config.hidden)
    else:
        encoder = symmetric.SymmetricObjectEncoder(
            side, has_headings, config.hidden, config.latent_size
        )
        transition = symmetric.SymmetricGridTransition(
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
    encoder = masked.MaskedObjectEncoder(
        map_side(config, frames), objects, mask, config.hidden, config.latent_size
    )
    transition = masked.MaskedGridTransition(objects, config.latent_size, config.hidden)
    return WorldModel(
        group,
        frames,
        embedding,
        encoder,
        transition,
        partial(masked.act_on_masked_maps, group, encoder.mask),
        partial(masked.act_on_masked_latents, group, 4 * config.latent_size),
        objects,
        masked.Parts(encoder.mask, 4 * config.latent_size),
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
