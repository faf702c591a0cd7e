"""Configuration of the decoder task."""

from dataclasses import dataclass
from typing import Literal

from orbit.core.config.limits import Count, limited
from orbit.core.config.schema import FilePath


@dataclass(frozen=True)
@limited
class MapsDecoderConfig:
    """Linear layers of `hidden` units to `maps` maps of the frame's size, then convolutions."""

    name: Literal["maps"] = "maps"
    hidden: Count = 512
    maps: Count = 5
    channels: Count = 32


@dataclass(frozen=True)
@limited
class UpsamplingDecoderConfig:
    """The layers of the reacher's E and S reversed, without equivariance: `hidden` and `channels`
    have their meaning."""

    name: Literal["upsampling"]
    hidden: Count = 512
    embedding_size: Count = 8
    channels: Count = 32
    dilations: tuple[Count, ...] = (32, 16, 8, 4, 2)


DecoderSettings = MapsDecoderConfig | UpsamplingDecoderConfig


@dataclass(frozen=True)
class DecoderConfig:
    """`run` is the run directory of a world model, `checkpoint` is best, last or a step."""

    name: Literal["decoder"]
    run: FilePath
    checkpoint: str | int = "best"
    model: DecoderSettings = MapsDecoderConfig()

    def __post_init__(self) -> None:
        if not self.run:
            raise ValueError("run= is empty: give the run directory of a world model")
