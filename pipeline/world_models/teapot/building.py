"""The teapot's world model from its configuration."""

from torch import nn

from data_prep.store.manifest import FrameSpec
from pipeline.groups import Group
from pipeline.world_models.settings import TeapotModelConfig
from pipeline.world_models.teapot.networks import (
    FreeRotationTransition,
    ProductTransition,
    RotationEmbedding,
)
from pipeline.world_models.teapot.rotations import act_by_multiplying
from pipeline.world_models.world_model import WorldModel


def make_teapot_model(config: TeapotModelConfig, group: Group, frames: FrameSpec) -> WorldModel:
    """Both kinds make rotations of frames; they differ in the transition."""
    transition: nn.Module = ProductTransition()
    if config.transition_hidden is not None:
        transition = FreeRotationTransition(config.transition_hidden)
    return WorldModel(
        group,
        frames,
        RotationEmbedding(frames.shape, config.channels, config.hidden),
        nn.Identity(),
        transition,
        act_by_multiplying,
        act_by_multiplying,
    )
