"""The methods that come with this package, by their names, and what `task` may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orbit.core import plugins
from orbit.core.store.manifest import Manifest
from pipeline.methods.decoder.method import METHOD as DECODER
from pipeline.methods.decoder.settings import DecoderConfig
from pipeline.methods.homomorphism.method import METHOD as HOMOMORPHISM
from pipeline.methods.homomorphism.settings import HomomorphismConfig
from pipeline.methods.interface import Method, Task
from pipeline.methods.latent_action.method import METHOD as LATENT_ACTION
from pipeline.methods.latent_action.settings import LatentActionConfig
from pipeline.methods.latent_operator.method import METHOD as LATENT_OPERATOR
from pipeline.methods.latent_operator.settings import LatentOperatorConfig
from pipeline.methods.meta_sequential.method import METHOD as META_SEQUENTIAL
from pipeline.methods.meta_sequential.settings import MetaSequentialConfig
from pipeline.methods.neural_fourier.method import METHOD as NEURAL_FOURIER
from pipeline.methods.neural_fourier.settings import NeuralFourierConfig
from pipeline.methods.sequence_labelling.method import METHOD as SEQUENCE_LABELLING
from pipeline.methods.sequence_labelling.settings import SequenceLabellingConfig
from pipeline.methods.world_model.method import METHOD as WORLD_MODEL
from pipeline.methods.world_model.settings import WorldModelConfig

if TYPE_CHECKING:
    import torch

METHODS = {
    each.name: each
    for each in (
        *(LATENT_ACTION, WORLD_MODEL, SEQUENCE_LABELLING, DECODER),
        *(LATENT_OPERATOR, NEURAL_FOURIER, HOMOMORPHISM, META_SEQUENTIAL),
    )
}
TaskConfig = (
    LatentActionConfig
    | WorldModelConfig
    | SequenceLabellingConfig
    | DecoderConfig
    | LatentOperatorConfig
    | NeuralFourierConfig
    | HomomorphismConfig
    | MetaSequentialConfig
)


def find_method(name: str) -> Method:
    """The method of that name; packages add theirs (`orbit.methods`).

    Raises ValueError for a name that nobody offers.
    """
    if name in METHODS:
        return METHODS[name]
    added = plugins.load("methods", name)
    if not isinstance(added, Method):
        raise ValueError(f"no orbit.Method named {name!r} is installed; see `orbit plugins`")
    return added


def method_of(config: TaskConfig) -> Method:
    """The method that a run's `task` names."""
    return find_method(config.name)


def make_task(config: TaskConfig, manifest: Manifest, seed: int, device: torch.device) -> Task:
    """Build a task on a device, its weights drawn from `seed` alone.

    Raises ValueError for a dataset that the configured model cannot be trained on.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Weights are drawn on the CPU, so that they do not depend on the device.
        return method_of(config).make(config, manifest, device)
