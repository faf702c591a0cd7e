"""The neural Fourier transform with known representations, and Jin's model with two of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orbit.core.metrics import Metric
from orbit.core.store.manifest import Manifest
from pipeline.methods import latent_models
from pipeline.methods.interface import Method
from pipeline.methods.neural_fourier.settings import NeuralFourierConfig

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pipeline.measuring import TrainedModel
    from pipeline.methods.neural_fourier.task import NeuralFourierModel, NeuralFourierTask


def _make(
    config: NeuralFourierConfig, manifest: Manifest, device: torch.device
) -> NeuralFourierTask:
    from pipeline.methods.neural_fourier.task import NeuralFourierTask

    return NeuralFourierTask(config, manifest, device)


def _describe(run: TrainedModel, manifest: Manifest) -> Mapping[str, str]:
    action = _model(run.model).action
    names = ", ".join(irrep.name for irrep in action.moved)
    num = action.sizes[0] // action.moved[0].size
    return {"moved by": f"{num} copies each of {names}; {action.num_still} numbers stay"}


def _model(model: nn.Module) -> NeuralFourierModel:
    from pipeline.methods.neural_fourier.task import NeuralFourierModel

    assert isinstance(model, NeuralFourierModel)
    return model


METRICS = (
    *latent_models.METRICS,
    Metric("loss/forward", "Mean squared error of D(g E(x)), on [0, 1].", "lower"),
    Metric("loss/backward", "Mean squared error of D(g^-1 E(g x)), on [0, 1].", "lower"),
    Metric("loss/align", "Mean square of g E(x) - E(g x).", "lower"),
    Metric("loss/cycle", "Squared distance of z and E(D(z)), summed over z.", "lower"),
)
METHOD = Method(
    "neural_fourier",
    NeuralFourierConfig,
    _make,
    latent_models.measure,
    latent_models.draw,
    latent_models.programs,
    _describe,
    latent_models.preview,
    METRICS,
    latent_models.latents,
)
