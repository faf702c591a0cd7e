"""The methods that come with this package, by their names."""

import torch

from orbit.core import plugins
from orbit.core.store.manifest import Manifest
from pipeline.methods.decoder.method import METHOD as DECODER
from pipeline.methods.interface import Method, Task
from pipeline.methods.latent_action.method import METHOD as LATENT_ACTION
from pipeline.methods.sequence_labelling.method import METHOD as SEQUENCE_LABELLING
from pipeline.methods.settings import TaskConfig
from pipeline.methods.world_model.method import METHOD as WORLD_MODEL

METHODS = {each.name: each for each in (LATENT_ACTION, WORLD_MODEL, SEQUENCE_LABELLING, DECODER)}


def method_of(config: TaskConfig) -> Method:
    """The method that a run's `task` names; packages add theirs (`orbit.methods`)."""
    if config.name in METHODS:
        return METHODS[config.name]
    added = plugins.load("methods", config.name)
    if not isinstance(added, Method):
        raise ValueError(f"the method {config.name!r} of a package is no orbit.Method")
    return added


def make_task(config: TaskConfig, manifest: Manifest, seed: int, device: torch.device) -> Task:
    """Build a task on a device, its weights drawn from `seed` alone.

    Raises ValueError for a dataset that the configured model cannot be trained on.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Weights are drawn on the CPU, so that they do not depend on the device.
        return method_of(config).make(config, manifest, device)
