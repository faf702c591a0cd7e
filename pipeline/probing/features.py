"""Features of images: parts of the latents of a frozen encoder, and what they are compared to."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from data_prep.store.reader import SplitReader
from pipeline.models.latent_action import LatentActionModel

Encoder = Callable[[torch.Tensor], torch.Tensor]
"""Stored frames (N, C, ...) to values (N, C', ...), float32."""

MAX_BYTES = 2 * 2**30
"""What a feature of all images may take; a fit holds them three times."""
SCALE_FLOOR = 0.1
"""Features that vary less than this share of the average are not blown up to unit variance."""


@torch.no_grad()
def encode(
    encoder: Encoder,
    reader: SplitReader,
    records: np.ndarray,
    end: Literal["source", "target"],
    batch: int,
    device: torch.device,
) -> torch.Tensor:
    """Values of the encoder for the sources or targets of records, (N, C', ...) on the CPU."""
    values = torch.empty(0)
    for first in range(0, len(records), batch):
        frames = reader.read_frames(end, records[first : first + batch])
        part = encoder(torch.from_numpy(frames).to(device)).cpu()
        if not first:
            values = torch.empty(len(records), *part.shape[1:])
        values[first : first + len(part)] = part
    return values


def encoder_of(model: LatentActionModel, is_pooled: bool = False) -> Encoder:
    """Stored frames to whole latents z, or to their means over cells, (N, C, 1)."""

    def encode(frames: torch.Tensor) -> torch.Tensor:
        latent: torch.Tensor = model.encoder(model.normalise(frames))
        return latent.flatten(2).mean(2, keepdim=True) if is_pooled else latent

    return encode


def split_name(name: str) -> tuple[bool, bool, str]:
    """A feature's name to (is untrained, is pooled, part)."""
    part = name.removeprefix("untrained_")
    return name != part, part.startswith("pooled_"), part.removeprefix("pooled_")


def reason_to_skip(name: str, model: LatentActionModel, num_images: int) -> str | None:
    """Why a model has no such feature, or none that memory holds for so many images; else None."""
    _, is_pooled, part = split_name(name)
    is_variant = model.mask.is_variant()
    num_bytes = num_numbers(name, model) * num_images * 4
    if num_bytes > MAX_BYTES:
        return (
            f"of {num_images:,} images it takes {num_bytes / 2**30:.1f} GiB, more than"
            f" {MAX_BYTES / 2**30:g}: pooled features are short, and max_train makes images fewer"
        )
    if part == "z_v" and not is_variant.any():
        return "no channel is variant"
    if part == "z_i" and is_variant.all():
        return "no channel is invariant"
    if is_pooled and math.prod(model.latent_shape[1:]) == 1:
        return "the latent is a vector: the same without pooling"
    return None


def num_numbers(name: str, model: LatentActionModel) -> int:
    """How long the feature of an image is."""
    _, is_pooled, part = split_name(name)
    if part == "pixels":
        return math.prod(model.frames.shape)
    num_variant = int(model.mask.is_variant().sum())
    num_channels = model.latent_shape[0]
    num_channels = {"z_v": num_variant, "z_i": num_channels - num_variant}.get(part, num_channels)
    return num_channels * (1 if is_pooled else math.prod(model.latent_shape[1:]))


def extract(name: str, values: torch.Tensor, is_variant: torch.Tensor) -> torch.Tensor:
    """Features (N, D) from latents (N, C, ...), or from pixels for `pixels`.

    `z_v` and `z_i` hold the channels of their part alone; pooled features are means
    over latent cells, one a channel.
    """
    _, is_pooled, part = split_name(name)
    if part == "z_v":
        values = values[:, is_variant]
    elif part == "z_i":
        values = values[:, ~is_variant]
    return values.flatten(2).mean(2) if is_pooled else values.flatten(1)


@dataclass(frozen=True)
class Standardiser:
    """Brings features (N, D) to mean 0 and variance 1, by statistics (D,) of a training set."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        return (features - self.mean).mul_(self.scale)


def standardiser(features: torch.Tensor) -> Standardiser:
    """Statistics of training features (N, D). Those that never vary become 0 for all images."""
    variance, mean = torch.var_mean(features, 0, correction=0)
    std = variance.sqrt()
    average = std.mean()
    scale = 1 / std.clamp_min(SCALE_FLOOR * average)
    varies = std > 1e-6 * average
    return Standardiser(mean, torch.where(varies, scale, torch.zeros(())))
