"""Configuration of networks and of how a group acts on their latents."""

from dataclasses import dataclass
from typing import Literal

MemoryFormat = Literal["contiguous", "channels_last"]
Depth = Literal["auto"] | int


@dataclass(frozen=True)
class AutoencoderConfig:
    """The paper's network: `width` channels after the first of `depth` layers, doubled by each.

    Each layer halves the frame; `depth=auto` takes as many as leave the latent 12 cells a side,
    or 14 where the group interpolates cells.
    `vector_size` turns the latent into a vector of that many channels, by a linear
    layer; null leaves it spatial, as in the paper.
    """

    name: Literal["conv"] = "conv"
    width: int = 32
    depth: Depth = 2
    vector_size: int | None = None
    memory_format: MemoryFormat = "contiguous"
    activation_checkpointing: bool = False

    def __post_init__(self) -> None:
        _check_sizes(self)


@dataclass(frozen=True)
class ResidualConfig:
    """A stronger network: `depth` levels of `num_blocks` residual blocks with group norm.

    The first level has `width` channels, each further one twice as many up to
    `max_width`; the latent has `latent_channels`. `depth=auto` and `vector_size` as in
    `AutoencoderConfig`.
    """

    name: Literal["residual"]
    width: int = 32
    depth: Depth = 2
    num_blocks: int = 1
    max_width: int = 256
    latent_channels: int = 64
    vector_size: int | None = None
    memory_format: MemoryFormat = "contiguous"
    activation_checkpointing: bool = False

    def __post_init__(self) -> None:
        _check_sizes(self)
        if self.width % 8:
            raise ValueError(f"width={self.width} must be divisible by 8, the groups of a norm")
        if self.num_blocks < 1:
            raise ValueError(f"num_blocks={self.num_blocks} must be at least 1")
        if self.max_width % self.width:
            raise ValueError(f"max_width={self.max_width} must be a multiple of width={self.width}")
        if self.latent_channels < 1:
            raise ValueError(f"latent_channels={self.latent_channels} must be at least 1")


@dataclass(frozen=True)
class ContextConfig:
    """The paper's network with further latent channels that see more of the frame.

    The cells of the paper's latent each see a few pixels. `num_blocks` residual blocks of
    3-wide convolutions on them make `context_channels` more, as fine as the others.
    `width`, `depth` and `vector_size` as in `AutoencoderConfig`.
    """

    name: Literal["context"]
    width: int = 32
    depth: Depth = 2
    context_channels: int = 64
    num_blocks: int = 1
    vector_size: int | None = None
    memory_format: MemoryFormat = "contiguous"
    activation_checkpointing: bool = False

    def __post_init__(self) -> None:
        _check_sizes(self)
        if self.context_channels < 1 or self.context_channels % 8:
            raise ValueError(
                f"context_channels={self.context_channels} must be a positive multiple of 8, the"
                " groups of a norm"
            )
        if self.num_blocks < 1:
            raise ValueError(f"num_blocks={self.num_blocks} must be at least 1")


NetworkConfig = AutoencoderConfig | ResidualConfig | ContextConfig
"""Packages add to these (`orbit.networks`), and to `LatentActionSettings` (`orbit.actions`)."""


def num_halvings(config: NetworkConfig) -> int:
    """How often a network halves its frame, after `auto` was replaced."""
    assert config.depth != "auto", "`pipeline.models.networks.with_depth` comes first"
    return config.depth


def _check_sizes(config: NetworkConfig) -> None:
    for name in ("width", "depth"):
        value = getattr(config, name)
        if value != "auto" and value < 1:
            raise ValueError(f"{name}={value} must be at least 1")
    if config.vector_size is not None and config.vector_size < 1:
        raise ValueError(f"vector_size={config.vector_size} must be at least 1")


@dataclass(frozen=True)
class SpatialActionConfig:
    """The group moves the cells of the latent as it moves those of the image (the paper's)."""

    name: Literal["spatial"] = "spatial"


@dataclass(frozen=True)
class RepresentationActionConfig:
    """The group mixes channels by its irreducible representations.

    Of a continuous group, up to a frequency or degree, 2 where null; a finite one has all.
    """

    name: Literal["representation"]
    max_frequency: int | None = None

    def __post_init__(self) -> None:
        if self.max_frequency is not None and self.max_frequency < 1:
            raise ValueError(f"max_frequency={self.max_frequency} must be at least 1")


@dataclass(frozen=True)
class LearnedActionConfig:
    """A network with `hidden` units maps the action to an orthogonal matrix for each block
    of `block_size` channels."""

    name: Literal["learned"]
    block_size: int = 8
    hidden: int = 64

    def __post_init__(self) -> None:
        if self.block_size < 2:
            raise ValueError(f"block_size={self.block_size} must be at least 2")
        if self.hidden < 1:
            raise ValueError(f"hidden={self.hidden} must be at least 1")


LatentActionSettings = SpatialActionConfig | RepresentationActionConfig | LearnedActionConfig


@dataclass(frozen=True)
class LearnedMaskConfig:
    """The mask is learned, channel by channel (the paper's)."""

    name: Literal["learned"] = "learned"


@dataclass(frozen=True)
class FixedMaskConfig:
    """The first channels are variant, as many as the fraction says, and stay so."""

    name: Literal["fixed"]
    variant_fraction: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.variant_fraction <= 1:
            raise ValueError(f"variant_fraction={self.variant_fraction} must lie between 0 and 1")


MaskConfig = LearnedMaskConfig | FixedMaskConfig
