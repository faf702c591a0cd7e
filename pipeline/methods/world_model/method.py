"""Symmetric embedding networks (paper 2), and the homeomorphic VAE."""

from orbit.core.store.manifest import Manifest
from pipeline.measuring import Findings, Subject, TrainedModel
from pipeline.methods.interface import Method
from pipeline.methods.world_model.settings import WorldModelConfig
from pipeline.methods.world_model.task import WorldModelTask
from pipeline.programs import Program
from pipeline.world_models.world_model import WorldModel


def _measure(subject: Subject) -> Findings:
    from pipeline.methods.world_model.final import measure

    return measure(subject)


def _draw(subject: Subject) -> None:
    from pipeline.methods.world_model.final import draw

    draw(subject)


def _programs(run: TrainedModel, manifest: Manifest) -> list[Program]:
    from pipeline.methods.world_model.programs import world_model_programs

    assert isinstance(run.model, WorldModel)
    return world_model_programs(run.model, manifest.action)


METHOD = Method("world_model", WorldModelConfig, WorldModelTask, _measure, _draw, _programs)
