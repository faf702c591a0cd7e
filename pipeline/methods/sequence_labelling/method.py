"""Labels of sequences by a layer that may come to commute with shifts (paper 2)."""

from pipeline.measuring import Findings, Subject
from pipeline.methods.interface import Method
from pipeline.methods.sequence_labelling.settings import SequenceLabellingConfig
from pipeline.methods.sequence_labelling.task import SequenceLabellingTask


def _measure(subject: Subject) -> Findings:
    from pipeline.methods.sequence_labelling.final import measure

    return measure(subject)


def _draw(subject: Subject) -> None:
    from pipeline.methods.sequence_labelling.final import draw

    draw(subject)


METHOD = Method(
    "sequence_labelling", SequenceLabellingConfig, SequenceLabellingTask, _measure, _draw
)
