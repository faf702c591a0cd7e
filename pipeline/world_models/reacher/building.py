"""The reacher's world model from its configuration."""

from collections.abc import Sequence

from data_prep.store.manifest import FrameSpec
from pipeline.groups import Group
from pipeline.groups.interface import ActionComponent
from pipeline.world_models.reacher.free import (
    FreeReacherTransition,
    free_embedding,
    free_encoder,
)
from pipeline.world_models.settings import ReacherModelConfig
from pipeline.world_models.world_model import WorldModel


def make_reacher_model(
    config: ReacherModelConfig,
    group: Group,
    frames: FrameSpec,
    actions: Sequence[ActionComponent],
) -> WorldModel:
    embedding = free_embedding(
        frames.shape[0], config.embedding_size, config.channels, config.dilations
    )
    return WorldModel(
        group,
        frames,
        embedding,
        free_encoder(config.embedding_size, config.hidden, config.latent_size),
        FreeReacherTransition(config.latent_size, config.hidden),
        None,
        None,
    )
