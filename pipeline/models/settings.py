"""Configuration of networks and of latent actions."""

from dataclasses import dataclass
from typing import Annotated, Literal

from orbit.core.config.limits import Count, Share, at_least, limited

MemoryFormat = Literal["contiguous", "channels_last"]
Depth = Literal["auto"] | Count


@dataclass(frozen=True)
@limited
class AutoencoderConfig:
    """The paper's network: `width` channels after the first of `depth` layers, doubled by each
    further one.

    Each layer halves the frame; `depth=auto` takes the most layers that leave the latent 12 cells a
    side, or 14 if the group interpolates cells. `vector_size` makes the latent a vector of this
    many channels, by a linear layer; null keeps it spatial, as in the paper.
    """

    name: Literal["conv"] = "conv"
    width: Count = 32
    depth: Depth = 2
    vector_size: Count | None = None
    memory_format: MemoryFormat = "contiguous"
    activation_checkpointing: bool = False


@dataclass(frozen=True)
@limited
class ResidualConfig:
    """A stronger network: `depth` levels of `num_blocks` residual blocks with group norm.

    The first level has `width` channels, each further one twice as many, up to `max_width`; the
    latent has `latent_channels`. `depth=auto` and `vector_size` as in `AutoencoderConfig`.
    """

    name: Literal["residual"]
    width: Count = 32
    depth: Depth = 2
    num_blocks: Count = 1
    max_width: int = 256
    latent_channels: Count = 64
    vector_size: Count | None = None
    memory_format: MemoryFormat = "contiguous"
    activation_checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.width % 8:
            raise ValueError(f"width={self.width} must be divisible by 8, the groups of a norm")
        if self.max_width % self.width:
            raise ValueError(f"max_width={self.max_width} must be a multiple of width={self.width}")


@dataclass(frozen=True)
@limited
class ContextConfig:
    """The paper's network with further latent channels that see more of the frame.

    Each cell of the paper's latent sees a few pixels. `num_blocks` residual blocks of 3-wide
    convolutions on them compute `context_channels` further channels of the same resolution.
    `width`, `depth` and `vector_size` as in `AutoencoderConfig`.
    """

    name: Literal["context"]
    width: Count = 32
    depth: Depth = 2
    context_channels: int = 64
    num_blocks: Count = 1
    vector_size: Count | None = None
    memory_format: MemoryFormat = "contiguous"
    activation_checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.context_channels < 1 or self.context_channels % 8:
            raise ValueError(
                f"context_channels={self.context_channels} must be a positive multiple of 8, the"
                " groups of a norm"
            )


NetworkConfig = AutoencoderConfig | ResidualConfig | ContextConfig
"""Plug-ins add to these (`orbit.networks`), and to `LatentActionSettings` (`orbit.actions`)."""


def num_halvings(config: NetworkConfig) -> int:
    """How often a network halves its frame, after `auto` has been replaced."""
    assert config.depth != "auto", "`pipeline.models.networks.with_depth` comes first"
    return config.depth


@dataclass(frozen=True)
class SpatialActionConfig:
    """The group moves the cells of the latent as it moves those of the image (as in the paper)."""

    name: Literal["spatial"] = "spatial"


@dataclass(frozen=True)
@limited
class RepresentationActionConfig:
    """The group mixes channels by its irreducible representations.

    For a continuous group, up to a frequency or degree (null means 2); for a finite one, all.
    """

    name: Literal["representation"]
    max_frequency: Count | None = None


@dataclass(frozen=True)
@limited
class LearnedActionConfig:
    """A network with `hidden` units maps the action to an orthogonal matrix for each block
    of `block_size` channels."""

    name: Literal["learned"]
    block_size: Annotated[int, at_least(2)] = 8
    hidden: Count = 64


LatentActionSettings = SpatialActionConfig | RepresentationActionConfig | LearnedActionConfig


@dataclass(frozen=True)
class LearnedMaskConfig:
    """The mask is learned, channel by channel (as in the paper)."""

    name: Literal["learned"] = "learned"


@dataclass(frozen=True)
@limited
class FixedMaskConfig:
    """The first channels are always variant; the fraction sets their number."""

    name: Literal["fixed"]
    variant_fraction: Share = 0.5


MaskConfig = LearnedMaskConfig | FixedMaskConfig
