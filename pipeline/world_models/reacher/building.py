"""The reacher's world model from its configuration."""

from collections.abc import Sequence
from functools import partial

from torch import nn

from data_prep.store.manifest import FrameSpec
from pipeline.groups import Group
from pipeline.groups.interface import ActionComponent
from pipeline.world_models.reacher import free, symmetric
from pipeline.world_models.reacher.representations import act_on_latents, act_on_maps
from pipeline.world_models.settings import ReacherModelConfig
from pipeline.world_models.world_model import WorldModel

SIDES = (33, 65, 129)
"""Sides that the layers bring down to one cell, keeping the centre at every stride."""


def make_reacher_model(
    config: ReacherModelConfig,
    group: Group,
    frames: FrameSpec,
    actions: Sequence[ActionComponent],
) -> WorldModel:
    """Raises ValueError where frames or actions do not fit the networks."""
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
        embedding = symmetric.symmetric_embedding(
            num_in, config.embedding_size, config.channels, config.dilations
        )
    else:
        embedding = free.free_embedding(
            num_in, config.embedding_size, config.channels, config.dilations
        )
    if config.kind == "none":
        encoder = free.free_encoder(config.embedding_size, config.hidden, config.latent_size)
        transition = free.FreeReacherTransition(config.latent_size, config.hidden)
    else:
        seen = symmetric.regular if config.kind == "full" else symmetric.trivial
        encoder = symmetric.symmetric_encoder(
            seen(config.embedding_size), config.hidden, config.latent_size
        )
        transition = symmetric.SymmetricReacherTransition(config.latent_size, config.hidden)
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
