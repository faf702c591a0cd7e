"""Final evaluation of decoders: pictures; their metrics are those of training."""

import numpy as np
import torch

from pipeline.analysis.records import device_of, spread_records
from pipeline.evaluation.final import Findings, Subject
from pipeline.evaluation.pictures.worlds.decoded import write_decoded
from pipeline.evaluation.pictures.worlds.showing import decoded_frames
from pipeline.evaluation.pictures.worlds.write import draw_orbits, draw_rollouts
from pipeline.evaluation.world_model import episodes_of
from pipeline.tasks.decoder.frozen import FrozenModelWithDecoder

NUM_SHOWN = 4


def measure(subject: Subject) -> Findings:
    """Nothing beyond the metrics of training."""
    return Findings({})


def draw(subject: Subject) -> None:
    """pictures/decoded.png, rollouts.png, and decoded_orbit.png where there are twins."""
    model = subject.run.model
    assert isinstance(model, FrozenModelWithDecoder)
    device = device_of(model)
    folder = subject.run_dir / "pictures"
    folder.mkdir(exist_ok=True)
    what = f"{subject.manifest.name}, {subject.split}, step {subject.run.step}"
    records = subject.reader.read(spread_records(subject.reader, NUM_SHOWN))
    source, target, action = (
        torch.from_numpy(np.ascontiguousarray(values)).to(device)
        for values in (records.source, records.target, records.action)
    )
    title = f"Decoded latents, {what}"
    write_decoded(folder / "decoded.png", model, source, target, action, title)
    world, episodes = model.world_model, episodes_of(subject)
    show = decoded_frames(model.decode, episodes, subject.batch)
    title = f"Rollouts, {what}"
    draw_rollouts(folder / "rollouts.png", world, episodes, show, device, title)
    title = f"Latents moved by {world.group.name}, {what}"
    draw_orbits(folder / "decoded_orbit.png", world, episodes, show, device, title)
