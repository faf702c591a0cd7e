"""Final evaluation of sequence labelling: scores, and the first layer's weights in a picture."""

from pipeline.analysis.labelling import labelling_metrics
from pipeline.evaluation.final import Findings, Subject
from pipeline.evaluation.pictures.first_layer import write_first_layer
from pipeline.tasks.sequence_labelling.network import SequenceLabeller


def measure(subject: Subject) -> Findings:
    """See `pipeline.analysis.labelling`."""
    model = _model(subject)
    return Findings(labelling_metrics(model, subject.reader, subject.max_records, subject.batch))


def draw(subject: Subject) -> None:
    """pictures/first_layer.png."""
    model, run = _model(subject), subject.run
    folder = subject.run_dir / "pictures"
    folder.mkdir(exist_ok=True)
    title = f"First layer, {run.config.task.model.name}, step {run.step}"
    write_first_layer(folder / "first_layer.png", model.first.weight, title)


def _model(subject: Subject) -> SequenceLabeller:
    assert isinstance(subject.run.model, SequenceLabeller)
    return subject.run.model
