"""Making a world model from a configuration and a dataset."""

from orbit.core.groups import make_group
from orbit.core.plugins import by_name
from orbit.core.store.manifest import Manifest
from pipeline.models.checkpointing import checkpoint_activations
from pipeline.world_models import homeomorphic_vae, reacher, teapot
from pipeline.world_models.grid import symmetric
from pipeline.world_models.settings import WorldModelSettings
from pipeline.world_models.world_model import WorldModel

MODELS = by_name(symmetric.MODEL, reacher.MODEL, teapot.MODEL, homeomorphic_vae.MODEL)
"""`make` takes config, group and manifest."""
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
    model: WorldModel = MODELS[config.name].make(config, make_group(manifest.group), manifest)
    if config.activation_checkpointing:
        checkpoint_activations(model)
    return model
