"""The homomorphism autoencoder: how the group acts is learned with the latent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orbit.core.metrics import Metric
from orbit.core.store.manifest import Manifest
from pipeline.methods import latent_models
from pipeline.methods.homomorphism.settings import HomomorphismConfig
from pipeline.methods.interface import Method

if TYPE_CHECKING:
    import torch

    from pipeline.measuring import TrainedModel
    from pipeline.methods.homomorphism.task import HomomorphismTask


def _make(config: HomomorphismConfig, manifest: Manifest, device: torch.device) -> HomomorphismTask:
    from pipeline.methods.homomorphism.task import HomomorphismTask

    return HomomorphismTask(config, manifest, device)


def _describe(run: TrainedModel, manifest: Manifest) -> Mapping[str, str]:
    from pipeline.methods.homomorphism.task import HomomorphismModel

    assert isinstance(run.model, HomomorphismModel)
    action = run.model.action
    size = f"{action.num_blocks} learned matrices of {action.block_size} x {action.block_size}"
    return {"moved by": f"{size}; {action.num_still} numbers stay"}


METRICS = (
    *latent_models.METRICS,
    Metric("loss/image", "Cross-entropy of D(E(x)) and D(g E(x)), a sum over values.", "lower"),
    Metric("loss/latent", "Mean squared difference of g E(x) and E(g x).", "lower"),
)
METHOD = Method(
    "homomorphism",
    HomomorphismConfig,
    _make,
    latent_models.measure,
    latent_models.draw,
    latent_models.programs,
    _describe,
    latent_models.preview,
    METRICS,
    latent_models.latents,
)
