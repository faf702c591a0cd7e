"""Configuration of the sequence labelling task."""

from dataclasses import dataclass
from typing import Any, Literal


def _check_positive(config: Any, *names: str) -> None:
    for name in names:
        if getattr(config, name) <= 0:
            raise ValueError(f"{name}={getattr(config, name)} must be positive")


@dataclass(frozen=True)
class FullyConnectedConfig:
    """The first layer, then `num_layers` linear ones with as many units as the sequence is long."""

    name: Literal["fc_only"]
    num_layers: int = 3

    def __post_init__(self) -> None:
        _check_positive(self, "num_layers")


@dataclass(frozen=True)
class ConvolutionalConfig:
    """The first layer, then `num_layers` cyclic convolutions of `channels` channels."""

    name: Literal["fc_conv"]
    num_layers: int = 3
    channels: int = 16
    kernel: int = 5

    def __post_init__(self) -> None:
        _check_positive(self, "num_layers", "channels", "kernel")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel={self.kernel} must be odd")


@dataclass(frozen=True)
class SequenceLabellingConfig:
    """A network and the weight of a peak in the loss, relative to any other place."""

    name: Literal["sequence_labelling"]
    model: FullyConnectedConfig | ConvolutionalConfig
    positive_weight: float = 49.0

    def __post_init__(self) -> None:
        _check_positive(self, "positive_weight")
