"""The paper's convolutional encoder and decoder.

Stride-2 4-wide convolutions with LeakyReLU(0.2), no normalisation, a Tanh at the
end (script `rotated_mnist.py`; 2D). Volumes use the same plan with 3D layers.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True)
class AutoencoderConfig:
    """`width` channels after the first layer, doubled by each of the `depth` layers."""

    width: int = 32
    depth: int = 2
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width={self.width} must be at least 1")
        if self.depth < 1:
            raise ValueError(f"depth={self.depth} must be at least 1")


def latent_shape(config: AutoencoderConfig, frame_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape (C, h, w) or (C, d, h, w) of the latent of a frame.

    Raises ValueError naming the nearest sizes if the layers do not divide the frame.
    """
    factor = 2**config.depth
    for size in frame_shape[1:]:
        if size % factor:
            raise ValueError(
                f"model.depth={config.depth} needs sides divisible by {factor}, not {size};"
                f" nearest: {max(factor, size // factor * factor)}"
            )
    num_channels = config.width * 2 ** (config.depth - 1)
    return (num_channels, *(size // factor for size in frame_shape[1:]))


class ConvEncoder(nn.Sequential):
    """(N, C, H, W) to (N, width * 2^(depth-1), H / 2^depth, W / 2^depth); volumes likewise."""

    def __init__(self, config: AutoencoderConfig, num_input: int, num_spatial: int) -> None:
        conv = nn.Conv2d if num_spatial == 2 else nn.Conv3d
        layers: list[nn.Module] = []
        num_channels = num_input
        for level in range(config.depth):
            num_output = config.width * 2**level
            layers += [conv(num_channels, num_output, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
            num_channels = num_output
        super().__init__(*layers)


class ConvDecoder(nn.Sequential):
    """The encoder's mirror image, ending in a Tanh: values in [-1, 1]."""

    def __init__(self, config: AutoencoderConfig, num_output: int, num_spatial: int) -> None:
        conv = nn.ConvTranspose2d if num_spatial == 2 else nn.ConvTranspose3d
        layers: list[nn.Module] = []
        num_channels = config.width * 2 ** (config.depth - 1)
        for level in range(config.depth - 2, -1, -1):
            num_next = config.width * 2**level
            layers += [conv(num_channels, num_next, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
            num_channels = num_next
        super().__init__(*layers, conv(num_channels, num_output, 4, 2, 1), nn.Tanh())


def as_channels_last(module: nn.Module, num_spatial: int) -> nn.Module:
    """Store the weights channels-last, which convolutions then keep for activations."""
    memory_format = torch.channels_last if num_spatial == 2 else torch.channels_last_3d
    return module.to(memory_format=memory_format)
