"""Final evaluation of decoders: a picture; their metrics are those of training."""

import numpy as np
import torch

from pipeline.analysis.records import device_of, spread_records
from pipeline.evaluation.final import Findings, Subject
from pipeline.evaluation.pictures.worlds.decoded import write_decoded
from pipeline.tasks.decoder.frozen import FrozenModelWithDecoder

NUM_SHOWN = 4


def measure(subject: Subject) -> Findings:
    """Nothing beyond the metrics of training."""
    return Findings({})


def draw(subject: Subject) -> None:
    """pictures/decoded.png."""
    model = subject.run.model
    assert isinstance(model, FrozenModelWithDecoder)
    records = subject.reader.read(_chosen(subject))
    device = device_of(model)
    source, target, action = (
        torch.from_numpy(np.ascontiguousarray(values)).to(device)
        for values in (records.source, records.target, records.action)
    )
    folder = subject.run_dir / "pictures"
    folder.mkdir(exist_ok=True)
    title = f"Decoded latents, {subject.manifest.name}, {subject.split}, step {subject.run.step}"
    write_decoded(folder / "decoded.png", model, source, target, action, title)


def _chosen(subject: Subject) -> np.ndarray:
    """Record numbers, spread over the split."""
    return spread_records(subject.reader, NUM_SHOWN)
