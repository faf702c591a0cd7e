"""Final evaluation of world models: metrics over episodes, curves, and pictures."""

from pipeline.analysis.records import device_of
from pipeline.analysis.worlds.episodes import Episodes, read_episodes
from pipeline.analysis.worlds.measure import measure_episodes
from pipeline.evaluation.final import Findings, Subject
from pipeline.world_models.world_model import WorldModel


def measure(subject: Subject) -> Findings:
    """See `pipeline.analysis.worlds`."""
    model = _model(subject)
    metrics, curves = measure_episodes(
        model, _episodes(subject), subject.manifest, subject.batch, device_of(model)
    )
    return Findings(metrics, curves)


def draw(subject: Subject) -> None:
    """What fits the world, below pictures/."""


def _episodes(subject: Subject) -> Episodes:
    return read_episodes(
        subject.manifest, subject.reader, subject.split, subject.run.group, subject.max_records
    )


def _model(subject: Subject) -> WorldModel:
    assert isinstance(subject.run.model, WorldModel)
    return subject.run.model
