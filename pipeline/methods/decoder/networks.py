"""A decoder, and the frozen world model of a finished run that it learns from."""

import math
from pathlib import Path

import torch
from torch import nn

from orbit.core.config.schema import build
from orbit.core.store.manifest import FrameSpec, Manifest
from pipeline.global_batch import GlobalBatchNorm
from pipeline.methods.decoder.settings import (
    DecoderConfig,
    DecoderSettings,
    MapsDecoderConfig,
    UpsamplingDecoderConfig,
)
from pipeline.methods.world_model.settings import WorldModelConfig
from pipeline.run_files.checkpoint import fill
from pipeline.run_files.reading import CONFIG_FILE, read_config_values
from pipeline.run_files.shared import checkpoints_of
from pipeline.world_models.building import make_world_model
from pipeline.world_models.layers import mlp
from pipeline.world_models.world_model import WorldModel


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
