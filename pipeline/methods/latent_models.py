"""What methods share whose model is a `LatentActionModel`, whatever their loss: what is measured,
drawn, exported and offered of it. Not for methods whose latents cannot be moved by elements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orbit.core.metrics import TOTAL_LOSS, Metric
from orbit.core.store.manifest import FrameSpec, Manifest
from pipeline.methods.interface import Latents
from pipeline.methods.latent_action.method import DEFAULT_RECORDS
from pipeline.methods.latent_action.method import METRICS as OF_LATENT_ACTIONS

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from orbit.core.store.reader import Records
    from pipeline.measuring import Findings, Subject, TrainedModel
    from pipeline.models.latent_action import LatentActionModel
    from pipeline.programs import Program


def measure(subject: Subject) -> Findings:
    """Exactness by element, and the latent's errors; see `Method`."""
    from pipeline.measuring import Findings
    from pipeline.methods.latent_action.measures import analyse

    most = subject.max_records if subject.max_records is not None else DEFAULT_RECORDS
    return Findings(analyse(subject.run, subject.manifest, subject.reader, most, subject.batch))


def draw(subject: Subject) -> None:
    """orbits.png, pictures/errors.png and the frames under each element."""
    from pipeline.methods.latent_action.pictures.elements import write_elements, write_orbits
    from pipeline.methods.latent_action.pictures.latents import write_errors

    folder = subject.run_dir / "pictures"
    folder.mkdir(exist_ok=True)
    write_orbits(subject.run_dir / "orbits.png", subject.run, subject.reader)
    write_errors(folder / "errors.png", subject.run, subject.reader)
    write_elements(folder / "elements", subject.run, subject.manifest, subject.reader)


def programs(run: TrainedModel, manifest: Manifest) -> list[Program]:
    """Encode, act, decode and transform."""
    from pipeline.methods.latent_action.programs import latent_action_programs

    return latent_action_programs(_model(run.model))


def preview(model: nn.Module, records: Records, frames: FrameSpec) -> Mapping[str, np.ndarray]:
    """Sources, targets and predictions."""
    from pipeline.methods.latent_action.pictures.elements import preview_rows

    return preview_rows(_model(model), records, frames)


def latents(model: nn.Module, manifest: Manifest) -> Latents:
    """z_v and z_i for the measures that all methods share."""
    from pipeline.methods.latent_action.parts import offered_latents

    return offered_latents(_model(model))


def _model(model: nn.Module) -> LatentActionModel:
    from pipeline.models.latent_action import LatentActionModel

    assert isinstance(model, LatentActionModel)
    return model


NOT_SHARED = ("loss/", "mask/", "block/", "output_variation", "dice")
METRICS: tuple[Metric, ...] = (
    TOTAL_LOSS,
    *(
        each
        for each in OF_LATENT_ACTIONS
        if each != TOTAL_LOSS and not each.name.startswith(NOT_SHARED)
    ),
)
"""Of which a method adds those of its own loss."""
