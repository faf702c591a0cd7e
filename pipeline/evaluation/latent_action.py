"""Final evaluation of latent group actions: the paper's analyses and figures."""

from pipeline.analysis.analyse import analyse
from pipeline.evaluation.final import Findings, Subject
from pipeline.evaluation.pictures.write import write_pictures

DEFAULT_RECORDS = 4096


def measure(subject: Subject) -> Findings:
    """See `pipeline.analysis.analyse`, on 4096 records unless told otherwise."""
    max_records = subject.max_records if subject.max_records is not None else DEFAULT_RECORDS
    return Findings(
        analyse(subject.run, subject.manifest, subject.reader, max_records, subject.batch)
    )


def draw(subject: Subject) -> None:
    """orbits.png and pictures/."""
    write_pictures(subject.run_dir, subject.run, subject.manifest, subject.reader)
