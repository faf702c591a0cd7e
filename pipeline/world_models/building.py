"""Making a world model from a configuration and a dataset."""

from orbit.core.groups import make_group
from orbit.core.store.manifest import Manifest
from pipeline.models.checkpointing import checkpoint_activations
from pipeline.world_models.grid.symmetric import make_grid_model
from pipeline.world_models.homeomorphic_vae import HomeomorphicVAE
from pipeline.world_models.reacher import make_reacher_model
from pipeline.world_models.settings import (
    GridModelConfig,
    HomeomorphicVAEConfig,
    ReacherModelConfig,
    WorldModelSettings,
)
from pipeline.world_models.teapot import make_teapot_model
from pipeline.world_models.world_model import WorldModel

GROUPS = {"grid": "c4", "reacher": "d4", "teapot": "so3", "homeomorphic_vae": "so3"}


def make_world_model(config: WorldModelSettings, manifest: Manifest) -> WorldModel:
    """A model for a dataset's frames and actions.

    Raises ValueError for a dataset of another group, or with frames or actions that the
    networks cannot take.
    """
    if manifest.group != GROUPS[config.name]:
        raise ValueError(
            f"task.model.name={config.name} is for the group {GROUPS[config.name]}, not"
            f" {manifest.group} of the dataset {manifest.name}"
        )
    if len(manifest.frames.shape) != 3:
        raise ValueError(f"world models see pictures, not frames of {manifest.frames.shape}")
    model = _make(config, manifest)
    if config.activation_checkpointing:
        checkpoint_activations(model)
    return model


def _make(config: WorldModelSettings, manifest: Manifest) -> WorldModel:
    group, frames = make_group(manifest.group), manifest.frames
    if isinstance(config, GridModelConfig):
        _check_directions(config, manifest)
        return make_grid_model(config, group, frames, manifest.action)
    if isinstance(config, ReacherModelConfig):
        return make_reacher_model(config, group, frames, manifest.action)
    if isinstance(config, HomeomorphicVAEConfig):
        return HomeomorphicVAE(config, group, frames)
    return make_teapot_model(config, group, frames)


def _check_directions(config: GridModelConfig, manifest: Manifest) -> None:
    """Raise ValueError for a wrong meaning of actions, which shapes do not show: training would not
    fail."""
    wanted = manifest.facts.directions
    if wanted is not None and config.directions != wanted:
        raise ValueError(
            f"task.model.directions={config.directions} is wrong for the dataset"
            f" {manifest.name}; allowed: {wanted}"
        )
