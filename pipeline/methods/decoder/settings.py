"""Configuration of the decoder task."""

from dataclasses import dataclass
from typing import Any, Literal


def _check_sizes(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        for size in value if isinstance(value, tuple) else (value,):
            if size < 1:
                raise ValueError(f"{name}={size} must be at least 1")


@dataclass(frozen=True)
class MapsDecoderConfig:
    """Linear layers of `hidden` units to `maps` maps of the frame's size, then convolutions."""

    name: Literal["maps"] = "maps"
    hidden: int = 512
    maps: int = 5
    channels: int = 32

    def __post_init__(self) -> None:
        _check_sizes(self, "hidden", "maps", "channels")


@dataclass(frozen=True)
class UpsamplingDecoderConfig:
    """The reacher's E and S backwards: `hidden` and `channels` are theirs, plain ones."""

    name: Literal["upsampling"]
    hidden: int = 512
    embedding_size: int = 8
    channels: int = 32
    dilations: tuple[int, ...] = (32, 16, 8, 4, 2)

    def __post_init__(self) -> None:
        _check_sizes(self, "hidden", "embedding_size", "channels", "dilations")


DecoderSettings = MapsDecoderConfig | UpsamplingDecoderConfig


@dataclass(frozen=True)
class DecoderConfig:
    """`run` is the run directory of a world model, `checkpoint` best, last or a step of it."""

    name: Literal["decoder"]
    run: str
    checkpoint: str | int = "best"
    model: DecoderSettings = MapsDecoderConfig()

    def __post_init__(self) -> None:
        if not self.run:
            raise ValueError("run= is empty: give the run directory of a world model")
