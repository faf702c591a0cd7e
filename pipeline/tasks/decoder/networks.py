"""Latents to pictures: the decoders of the released code."""

import math

from torch import nn

from data_prep.store.manifest import FrameSpec
from pipeline.global_batch import GlobalBatchNorm
from pipeline.tasks.decoder.settings import (
    DecoderSettings,
    MapsDecoderConfig,
    UpsamplingDecoderConfig,
)
from pipeline.world_models.layers import mlp


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
    """1x1 convolutions, up-sampling with 3x3 ones, then S backwards."""
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
    """Cells a side after a stride or a pooling by two of an odd side, 1 after 3."""
    return 1 if side <= 3 else (side + 1) // 2


def _normed(layer: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    return [layer, GlobalBatchNorm(layer.out_channels), nn.ReLU()]
