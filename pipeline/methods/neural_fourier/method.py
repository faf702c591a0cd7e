"""The neural Fourier transform with known representations, and Jin's model with two of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orbit.core.metrics import TOTAL_LOSS, Metric
from orbit.core.store.manifest import FrameSpec, Manifest
from pipeline.methods.interface import Latents, Method
from pipeline.methods.latent_action.method import DEFAULT_RECORDS
from pipeline.methods.latent_action.method import METRICS as OF_LATENT_ACTIONS
from pipeline.methods.neural_fourier.settings import NeuralFourierConfig

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from orbit.core.store.reader import Records
    from pipeline.measuring import Findings, Subject, TrainedModel
    from pipeline.methods.neural_fourier.model import NeuralFourierModel
    from pipeline.methods.neural_fourier.task import NeuralFourierTask
    from pipeline.programs import Program


def _make(
    config: NeuralFourierConfig, manifest: Manifest, device: torch.device
) -> NeuralFourierTask:
    from pipeline.methods.neural_fourier.task import NeuralFourierTask

    return NeuralFourierTask(config, manifest, device)


def _measure(subject: Subject) -> Findings:
    from pipeline.measuring import Findings
    from pipeline.methods.latent_action.measures import analyse

    most = subject.max_records if subject.max_records is not None else DEFAULT_RECORDS
    return Findings(analyse(subject.run, subject.manifest, subject.reader, most, subject.batch))


def _draw(subject: Subject) -> None:
    """orbits.png, pictures/errors.png and the frames under each element."""
    from pipeline.methods.latent_action.pictures.elements import write_elements, write_orbits
    from pipeline.methods.latent_action.pictures.latents import write_errors

    folder = subject.run_dir / "pictures"
    folder.mkdir(exist_ok=True)
    write_orbits(subject.run_dir / "orbits.png", subject.run, subject.reader)
    write_errors(folder / "errors.png", subject.run, subject.reader)
    write_elements(folder / "elements", subject.run, subject.manifest, subject.reader)


def _programs(run: TrainedModel, manifest: Manifest) -> list[Program]:
    from pipeline.methods.latent_action.programs import latent_action_programs

    return latent_action_programs(_model(run.model))


def _describe(run: TrainedModel, manifest: Manifest) -> Mapping[str, str]:
    action = _model(run.model).action
    names = ", ".join(irrep.name for irrep in action.moved)
    num = action.sizes[0] // action.moved[0].size
    return {"moved by": f"{num} copies each of {names}; {action.num_still} numbers stay"}


def _preview(model: nn.Module, records: Records, frames: FrameSpec) -> Mapping[str, np.ndarray]:
    from pipeline.methods.latent_action.pictures.elements import preview_rows

    return preview_rows(_model(model), records, frames)


def _latents(model: nn.Module, manifest: Manifest) -> Latents:
    from pipeline.methods.latent_action.parts import offered_latents

    return offered_latents(_model(model))


def _model(model: nn.Module) -> NeuralFourierModel:
    from pipeline.methods.neural_fourier.model import NeuralFourierModel

    assert isinstance(model, NeuralFourierModel)
    return model


NOT_SHARED = ("loss/", "mask/", "block/", "output_variation", "dice")
METRICS = (
    TOTAL_LOSS,
    *(
        each
        for each in OF_LATENT_ACTIONS
        if each != TOTAL_LOSS and not each.name.startswith(NOT_SHARED)
    ),
    Metric("loss/forward", "Mean squared error of D(g E(x)), on [0, 1].", "lower"),
    Metric("loss/backward", "Mean squared error of D(g^-1 E(g x)), on [0, 1].", "lower"),
    Metric("loss/cycle", "Squared distance of z and E(D(z)), summed over z.", "lower"),
)
METHOD = Method(
    "neural_fourier",
    NeuralFourierConfig,
    _make,
    _measure,
    _draw,
    _programs,
    _describe,
    _preview,
    METRICS,
    _latents,
)
