"""The decoder task: draw the current frame from z, and the next one from T(z, a).

|D(z) - x|^2 + |D(T(z, a)) - x'|^2      summed over pixels, mean over records

The model is a decoder with the frozen world model of a finished run, from which it learns. The
final evaluation measures errors of decoded frames and draws them.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import nn

from orbit.core.config.schema import build
from orbit.core.pictures import save_figure
from orbit.core.store.manifest import FrameSpec, Manifest
from orbit.core.store.reader import Records
from pipeline.data.packing import Batch
from pipeline.global_batch import GlobalBatchNorm
from pipeline.measuring import Row, Subject, device_of, picture_grid, spread_records
from pipeline.methods.decoder.settings import (
    DecoderConfig,
    DecoderSettings,
    MapsDecoderConfig,
    UpsamplingDecoderConfig,
)
from pipeline.methods.interface import PlainTask
from pipeline.methods.world_model.final import episodes_of
from pipeline.methods.world_model.pictures.rollouts import decoded_frames
from pipeline.methods.world_model.pictures.write import draw_orbits, draw_rollouts
from pipeline.methods.world_model.settings import WorldModelConfig
from pipeline.metrics.images import psnr
from pipeline.run_files.checkpoint import fill
from pipeline.run_files.reading import CONFIG_FILE, read_config_values
from pipeline.run_files.shared import checkpoints_of
from pipeline.world_models.building import make_world_model
from pipeline.world_models.world_model import WorldModel, mlp


def make_decoder(
    config: DecoderSettings, latent_shape: tuple[int, ...], frames: FrameSpec
) -> nn.Sequential:
    """A network from latents (B, *latent_shape) to images (B, C, H, W) in loaded units."""
    if isinstance(config, MapsDecoderConfig):
        return maps_decoder(config, math.prod(latent_shape), frames.shape)
    return upsampling_decoder(config, math.prod(latent_shape), frames.shape)


def maps_decoder(
    config: MapsDecoderConfig, num_in: int, frame_shape: tuple[int, ...]
) -> nn.Sequential:
    """Three linear layers, then four 3x3 transposed convolutions."""
    num_out, height, width = frame_shape
    sizes = (num_in, config.hidden, config.hidden, config.maps * height * width)
    return nn.Sequential(
        nn.Flatten(),
        mlp(sizes),
        nn.Unflatten(1, (config.maps, height, width)),
        *_normed(nn.ConvTranspose2d(config.maps, config.channels, 3, padding=1)),
        *_normed(nn.ConvTranspose2d(config.channels, config.channels, 3, padding=1)),
        *_normed(nn.ConvTranspose2d(config.channels, config.channels, 3, padding=1)),
        nn.ConvTranspose2d(config.channels, num_out, 3, padding=1),
    )


def upsampling_decoder(
    config: UpsamplingDecoderConfig, num_in: int, frame_shape: tuple[int, ...]
) -> nn.Sequential:
    """1x1 convolutions, up-sampling with 3x3 ones, then the layers of S reversed."""
    num_out, side, _ = frame_shape
    embedding_side = _halved(_halved(side))
    middle = _halved(_halved(embedding_side))
    small = _halved(_halved(middle))
    hidden, channels = config.hidden, config.channels
    dilated = (
        layer
        for d in config.dilations
        for layer in _normed(nn.ConvTranspose2d(channels, channels, 3, padding=d, dilation=d))
    )
    first = nn.ConvTranspose2d(config.embedding_size, channels, 3, stride=2, padding=1)
    return nn.Sequential(
        nn.Flatten(),
        nn.Unflatten(1, (num_in, 1, 1)),
        *_normed(nn.Conv2d(num_in, hidden, 1)),
        *_normed(nn.Conv2d(hidden, hidden, 1)),
        *_normed(nn.Conv2d(hidden, hidden, 1)),
        nn.Upsample(small),
        *_normed(nn.Conv2d(hidden, hidden, 3, padding=1)),
        nn.Upsample(middle),
        *_normed(nn.Conv2d(hidden, hidden, 3, padding=1)),
        nn.Upsample(embedding_side),
        *_normed(nn.Conv2d(hidden, config.embedding_size, 3, padding=1)),
        *_normed(first),
        *dilated,
        nn.ConvTranspose2d(channels, num_out, 3, stride=2, padding=1),
    )


def _halved(side: int) -> int:
    """Cells a side after a stride or a pooling by two of an odd side; 3 becomes 1."""
    return 1 if side <= 3 else (side + 1) // 2


def _normed(layer: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    return [layer, GlobalBatchNorm(layer.out_channels), nn.ReLU()]


class FrozenModelWithDecoder(nn.Module):
    """`world_model` never changes and is always in evaluation mode; `decoder` learns."""

    def __init__(self, world_model: WorldModel, decoder: nn.Module) -> None:
        super().__init__()
        self.world_model, self.decoder = world_model.requires_grad_(False), decoder
        self.train()

    def train(self, mode: bool = True) -> "FrozenModelWithDecoder":
        super().train(mode)
        self.world_model.eval()
        return self

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Decode latents to images (B, C, H, W) in loaded units."""
        images: torch.Tensor = self.decoder(latent)
        return images


def make_model(config: DecoderConfig, manifest: Manifest) -> FrozenModelWithDecoder:
    """Read the run that the configuration names; ValueError unless it is a world model."""
    run_dir = Path(config.run)
    recorded = read_config_values(run_dir).get("task")
    name = recorded.get("name") if isinstance(recorded, dict) else None
    if not isinstance(recorded, dict) or name != "world_model":
        raise ValueError(f"task.run={config.run} is a run of task.name={name}, not a world model")
    try:
        task = build(WorldModelConfig, recorded)
    except ValueError as error:
        raise ValueError(f"{run_dir / CONFIG_FILE} cannot be read: task.{error}") from None
    world_model = make_world_model(task.model, manifest)
    checkpoints = checkpoints_of(run_dir)
    fill(world_model, checkpoints.load(checkpoints.resolve(str(config.checkpoint))), run_dir)
    world_model.eval()
    with torch.no_grad():
        frames = torch.zeros(1, *manifest.frames.shape)
        latent_shape = world_model.latent(frames).shape[1:]
    decoder = make_decoder(config.model, tuple(latent_shape), manifest.frames)
    return FrozenModelWithDecoder(world_model, decoder)


TERM_NAMES = ("loss/total", "loss/current", "loss/next")


def sample_losses(
    model: FrozenModelWithDecoder, source: torch.Tensor, target: torch.Tensor, action: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared errors of current and next frame of each record, (B,) float32 both."""
    world = model.world_model
    with torch.no_grad():
        latent = world.latent(source)
        following = world.predict(latent, action)
    # One call for both, so that batch norm takes the statistics of all drawn frames.
    drawn = model.decode(torch.cat((latent, following)).float()).float()
    wanted = torch.cat((world.normalise(source), world.normalise(target)))
    current, after = (drawn - wanted).square().flatten(1).sum(1).chunk(2)
    return current, after


class DecoderObjective(nn.Module):
    """The loss of the decoder."""

    def __init__(self, model: FrozenModelWithDecoder) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        source: torch.Tensor,
        target: torch.Tensor,
        action: torch.Tensor,
        label: torch.Tensor,
        valid: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss and the vector of `TERM_NAMES`."""
        current, after = (
            losses.mean() for losses in sample_losses(self.model, source, target, action)
        )
        total = current + after
        return total, torch.stack([total, current, after]).detach()


class DecoderEvaluation:
    """The losses, and the PSNR of drawn next frames on [0, 1].

    Float64 sums; see `pipeline.methods.interface.Evaluation`.
    """

    def __init__(self, model: FrozenModelWithDecoder) -> None:
        self.model = model
        device = next(model.parameters()).device
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        current, after = sample_losses(self.model, batch.source, batch.target, batch.action)
        parts = torch.stack([torch.ones_like(current), current, after]).double()
        self._sums += (parts * batch.valid.double()).sum(1)

    def sums(self) -> torch.Tensor:
        return self._sums

    def metrics(self, sums: torch.Tensor) -> dict[str, float]:
        count, current, after = sums.tolist()
        frames = self.model.world_model.frames
        low, high = frames.loaded_range
        num_values = torch.Size(frames.shape).numel() * (high - low) ** 2
        return {
            "loss/total": (current + after) / count,
            "loss/current": current / count,
            "loss/next": after / count,
            "psnr": psnr(after / count / num_values),
        }


class DecoderTask(PlainTask):
    """See `pipeline.methods.interface.Task`."""

    term_names = TERM_NAMES
    mixes_batch = True  # batch norm
    selection_metric = "loss/total"

    def __init__(self, config: DecoderConfig, manifest: Manifest, device: torch.device) -> None:
        self.model = make_model(config, manifest).to(device)
        self.objective = DecoderObjective(self.model)

    def evaluation(self, model: nn.Module) -> DecoderEvaluation:
        assert isinstance(model, FrozenModelWithDecoder)
        return DecoderEvaluation(model)


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
    """Write two rows for each record (stored frames, action vectors), as a PNG.

    The first row has the frame x, then D(g z) for elements g, the identity first; the second has
    the next frame and D(g T(z, a)). If the model has no action on its latents, only D(z) and D(T(z,
    a)).
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
    """The latent moved by each element, (1, ...) each; unchanged if there is only one."""
    if len(elements) == 1:
        return [z[None]]
    return [model.world_model.act_on_latent(z[None], g[None]) for g in elements]


def to_picture(model: FrozenModelWithDecoder, images: torch.Tensor) -> np.ndarray:
    """Images (B, C, H, W) in loaded units mapped to [0, 1]; for stacked frames only the last
    one."""
    low, high = model.world_model.frames.loaded_range
    shown = ((images.float() - low) / (high - low)).clamp(0, 1)
    num_channels = 3 if shown.shape[1] % 3 == 0 else 1
    return shown[:, -num_channels:].cpu().numpy()


@torch.no_grad()
def preview_rows(model: FrozenModelWithDecoder, records: Records) -> dict[str, np.ndarray]:
    """Current and next frames, as they are and as they are drawn, (N, C, H, W) each on [0, 1]."""
    world, device = model.world_model, device_of(model)
    source, target, action = (
        torch.from_numpy(np.ascontiguousarray(values)).to(device)
        for values in (records.source, records.target, records.action)
    )
    latent = world.latent(source)
    return {
        "frame": to_picture(model, world.normalise(source)),
        "drawn from z": to_picture(model, model.decode(latent)),
        "next frame": to_picture(model, world.normalise(target)),
        "drawn from T(z, a)": to_picture(model, model.decode(world.predict(latent, action))),
    }


NUM_SHOWN = 4


def draw(subject: Subject) -> None:
    """pictures/decoded.png, rollouts.png, and, if there are rotated copies, decoded_orbit.png."""
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
