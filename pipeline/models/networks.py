"""From a network's configuration to encoder and decoder, with a spatial or a vector latent."""

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import nn

from pipeline.models.autoencoder import ConvDecoder, ConvEncoder
from pipeline.models.context import ContextEncoder
from pipeline.models.residual import ResidualDecoder, ResidualEncoder
from pipeline.models.settings import (
    AutoencoderConfig,
    ContextConfig,
    NetworkConfig,
    num_halvings,
)

SMALLEST_LATENT = 12
"""Cells a side that `depth=auto` leaves."""


def with_depth(
    config: NetworkConfig,
    frame_shape: tuple[int, ...],
    check_latent: Callable[[tuple[int, ...]], None] | None = None,
) -> NetworkConfig:
    """The configuration with a number in place of `depth=auto`.

    As many halvings as divide the frame, leave 12 cells a side and a lattice of cells for which
    `check_latent` raises no ValueError; 1 if none do.
    """
    if config.depth != "auto":
        return config
    fitting, sides = 1, frame_shape[1:]
    for depth in range(1, min(sides).bit_length()):
        sides = tuple(side // 2 for side in sides)
        if min(sides) < SMALLEST_LATENT or any(side % 2**depth for side in frame_shape[1:]):
            break
        if check_latent is None or _is_allowed(check_latent, sides):
            fitting = depth
    return dataclasses.replace(config, depth=fitting)


def _is_allowed(check_latent: Callable[[tuple[int, ...]], None], sides: tuple[int, ...]) -> bool:
    try:
        check_latent(sides)
    except ValueError:
        return False
    return True


def latent_shape(config: NetworkConfig, frame_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape (C, h, w) or (C, d, h, w) of the latent of a frame; (C, 1, 1) of a vector.

    Raises ValueError naming the nearest sizes if the layers do not divide the frame.
    """
    spatial = spatial_latent_shape(config, frame_shape)
    if config.vector_size is not None:
        return (config.vector_size, *(1 for _ in spatial[1:]))
    return spatial


def spatial_latent_shape(config: NetworkConfig, frame_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of what the convolutions make of a frame."""
    depth = num_halvings(config)
    factor = 2**depth
    for size in frame_shape[1:]:
        if size % factor:
            raise ValueError(
                f"model.depth={depth} needs sides divisible by {factor}, not {size};"
                f" nearest: {max(factor, size // factor * factor)}"
            )
    if isinstance(config, AutoencoderConfig):
        num_channels = config.width * 2 ** (depth - 1)
    elif isinstance(config, ContextConfig):
        num_channels = config.width * 2 ** (depth - 1) + config.context_channels
    else:
        num_channels = config.latent_channels
    return (num_channels, *(size // factor for size in frame_shape[1:]))


def make_encoder(config: NetworkConfig, frame_shape: tuple[int, ...]) -> nn.Module:
    """Frames (N, C, ...) to latents (N, *latent_shape)."""
    num_input, num_spatial = frame_shape[0], len(frame_shape) - 1
    if isinstance(config, AutoencoderConfig):
        encoder: nn.Module = ConvEncoder(config, num_input, num_spatial)
    elif isinstance(config, ContextConfig):
        encoder = ContextEncoder(config, num_input, num_spatial)
    else:
        encoder = ResidualEncoder(config, num_input, num_spatial)
    if config.vector_size is None:
        return encoder
    spatial = spatial_latent_shape(config, frame_shape)
    ones = (1,) * num_spatial
    return nn.Sequential(
        encoder,
        nn.Flatten(),
        nn.Linear(math.prod(spatial), config.vector_size),
        nn.Unflatten(1, (config.vector_size, *ones)),
    )


def make_decoder(config: NetworkConfig, frame_shape: tuple[int, ...]) -> nn.Module:
    """Latents to frames, before the output's own function (see `pipeline.models.output`)."""
    num_output, num_spatial = frame_shape[0], len(frame_shape) - 1
    spatial = spatial_latent_shape(config, frame_shape)
    if isinstance(config, AutoencoderConfig | ContextConfig):
        decoder: nn.Module = ConvDecoder(config, spatial[0], num_output, num_spatial)
    else:
        decoder = ResidualDecoder(config, num_output, num_spatial)
    if config.vector_size is None:
        return decoder
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(config.vector_size, math.prod(spatial)),
        nn.LeakyReLU(0.2),
        nn.Unflatten(1, spatial),
        decoder,
    )


def as_channels_last(module: nn.Module, num_spatial: int) -> nn.Module:
    """Store the convolutions' weights channels-last, which they then keep for activations."""
    memory_format = torch.channels_last if num_spatial == 2 else torch.channels_last_3d
    return module.to(memory_format=memory_format)
