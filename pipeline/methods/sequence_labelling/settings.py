"""Configuration of the sequence labelling task."""

from dataclasses import dataclass
from typing import Literal

from orbit.core.config.limits import Positive, PositiveInt, limited


@dataclass(frozen=True)
@limited
class FullyConnectedConfig:
    """The first layer, then `num_layers` linear ones with as many units as the sequence is long."""

    name: Literal["fc_only"]
    num_layers: PositiveInt = 3


@dataclass(frozen=True)
@limited
class ConvolutionalConfig:
    """The first layer, then `num_layers` cyclic convolutions of `channels` channels."""

    name: Literal["fc_conv"]
    num_layers: PositiveInt = 3
    channels: PositiveInt = 16
    kernel: PositiveInt = 5

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel={self.kernel} must be odd")


@dataclass(frozen=True)
@limited
class SequenceLabellingConfig:
    """A network and the weight of a peak in the loss, relative to other positions."""

    name: Literal["sequence_labelling"]
    model: FullyConnectedConfig | ConvolutionalConfig
    positive_weight: Positive = 49.0
