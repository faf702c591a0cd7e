"""Latent group actions (paper 1)."""

from orbit.core.store.manifest import Manifest
from pipeline.measuring import Findings, Subject, TrainedModel
from pipeline.methods.interface import Method
from pipeline.methods.latent_action.settings import LatentActionConfig
from pipeline.methods.latent_action.task import LatentActionTask
from pipeline.models.latent_action import LatentActionModel
from pipeline.programs import Program

DEFAULT_RECORDS = 4096


def _measure(subject: Subject) -> Findings:
    from pipeline.methods.latent_action.measures import analyse

    most = subject.max_records if subject.max_records is not None else DEFAULT_RECORDS
    return Findings(analyse(subject.run, subject.manifest, subject.reader, most, subject.batch))


def _draw(subject: Subject) -> None:
    from pipeline.methods.latent_action.pictures.write import write_pictures

    write_pictures(subject.run_dir, subject.run, subject.manifest, subject.reader)


def _programs(run: TrainedModel, manifest: Manifest) -> list[Program]:
    from pipeline.methods.latent_action.programs import latent_action_programs

    assert isinstance(run.model, LatentActionModel)
    return latent_action_programs(run.model)


METHOD = Method("latent_action", LatentActionConfig, LatentActionTask, _measure, _draw, _programs)
