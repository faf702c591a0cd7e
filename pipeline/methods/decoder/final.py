"""Final evaluation of decoders: errors of decoded frames, and pictures of them."""

from pathlib import Path

import numpy as np
import torch

from orbit.core.pictures import save_figure
from pipeline.measuring import Findings, Row, Subject, device_of, picture_grid, spread_records
from pipeline.methods.decoder.networks import FrozenModelWithDecoder
from pipeline.methods.world_model.final import episodes_of
from pipeline.methods.world_model.pictures.rollouts import decoded_frames
from pipeline.methods.world_model.pictures.write import draw_orbits, draw_rollouts

MAX_DECODED = 8


@torch.no_grad()
def write_decoded(
    path: Path,
    model: FrozenModelWithDecoder,
    source: torch.Tensor,
    target: torch.Tensor,
    action: torch.Tensor,
    title: str,
) -> None:
    """Two rows a record (stored frames, action vectors), as a PNG.

    First the frame x, then D(g z) for elements g, the identity first; below the next frame
    and D(g T(z, a)). Where the model has no action on its latents, D(z) and D(T(z, a)) alone.
    """
    world = model.world_model
    elements = world.group.examples()[:MAX_DECODED]
    latent = torch.cat([world.latent(frame[None]) for frame in source])
    following = world.predict(latent, action)
    try:
        world.act_on_latent(latent[:1], elements[:1])
    except ValueError:
        elements = elements[:1]
    captions = ["frame", *(f"g = {name}" for name in world.group.names(elements))]
    rows: list[Row] = []
    for record in range(len(source)):
        for label, frame, z in (
            ("now", source[record], latent[record]),
            ("next", target[record], following[record]),
        ):
            drawn = [
                to_picture(model, world.normalise(frame[None])),
                *(to_picture(model, model.decode(moved)) for moved in _moved(model, z, elements)),
            ]
            rows.append((label, np.concatenate(drawn), captions if not rows else []))
    save_figure(picture_grid(rows, title), path)


def _moved(
    model: FrozenModelWithDecoder, z: torch.Tensor, elements: torch.Tensor
) -> list[torch.Tensor]:
    """The latent moved by each element, (1, ...) each; itself where there is but one."""
    if len(elements) == 1:
        return [z[None]]
    return [model.world_model.act_on_latent(z[None], g[None]) for g in elements]


def to_picture(model: FrozenModelWithDecoder, images: torch.Tensor) -> np.ndarray:
    """Images (B, C, H, W) in loaded units on [0, 1]; of several frames stacked, the last."""
    low, high = model.world_model.frames.loaded_range
    shown = ((images.float() - low) / (high - low)).clamp(0, 1)
    num_channels = 3 if shown.shape[1] % 3 == 0 else 1
    return shown[:, -num_channels:].cpu().numpy()


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
