"""Configuration of the neural Fourier transform."""

from dataclasses import dataclass
from typing import Annotated, Literal

from orbit.core.config.limits import Count, Limit, NotNegative, NotNegativeInt, Share, limited
from orbit.core.plugins import Open
from pipeline.models.settings import AutoencoderConfig, NetworkConfig

AT_LEAST_ONE = Limit("must not be empty", lambda values: len(values) > 0)
ONCE_EACH = Limit("must not name one twice", lambda values: len(set(values)) == len(values))


@dataclass(frozen=True)
@limited
class StridedConfig:
    """Jin's network for digits: convolutions 3 wide with stride 2 of so many `channels`, ELU, and
    a linear layer of `hidden` units before the latent and behind it."""

    name: Literal["strided"]
    channels: Annotated[tuple[Count, ...], AT_LEAST_ONE] = (32, 64, 64, 64)
    hidden: Count = 256


Network = Annotated[NetworkConfig | StridedConfig, Open("networks")]
Frequencies = Annotated[tuple[NotNegativeInt, ...], AT_LEAST_ONE, ONCE_EACH]


@dataclass(frozen=True)
@limited
class NeuralFourierConfig:
    """The latent consists of `num_copies` copies of the representation of each of the
    `frequencies`.

    Frequency 0 does not move. Under `so2` and `c4` frequency k turns pairs of numbers by k times
    the angle; under `so3` it is the degree of spherical harmonics, 2k + 1 numbers. Under
    `turn_hue` and `torus` it is the sum of the sizes of a pair of frequencies. Other finite groups
    need null, which takes all irreducible representations.

    Between the latent and a spatial network of `model` are linear layers, behind the second one a
    layer norm. `leak` is the slope of its LeakyReLU for negative values (0.01 in the released
    code); null keeps the network's own. `cycle` is the weight of |z - E(D(z))|^2, `align` that of
    the mean square of g E(x) - E(g x).
    """

    name: Literal["neural_fourier"]
    frequencies: Frequencies | None = (0, 1, 2, 3, 4, 5, 6, 7, 8)
    num_copies: Count = 32
    model: Network = AutoencoderConfig()
    leak: Share | None = None
    cycle: NotNegative = 0.0
    align: NotNegative = 0.0

    def __post_init__(self) -> None:
        if self.leak is not None and isinstance(self.model, StridedConfig):
            raise ValueError(f"leak={self.leak} has no effect with model.name=strided: it has ELU")
        if getattr(self.model, "vector_size", None) is not None:
            raise ValueError(
                "model.vector_size: the latent has num_copies numbers for each dimension of a"
                " representation; allowed: null"
            )
