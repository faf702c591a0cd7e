"""`turns:N`: the N rotations of the plane by multiples of 360/N degrees, to the nearest pixel.

A value is moved, never mixed with others, so that images of few colours stay such. But for quarter
turns a rotated lattice is another one: two rotations after another take some pixels from beside
where the product takes them, and the laws of the action hold but for that.
"""

import math
from functools import lru_cache, partial

import numpy as np
import torch

from orbit.core.groups.interface import Irrep
from orbit.core.groups.interpolation import check_interpolated_latent, check_lattice
from orbit.core.groups.irreps import planar_matrix
from orbit.core.groups.planar_rotations import ANGLE_BIN_NAMES, SO2, angle_bin_index
from orbit.core.plugins import Kind

MAX_TURNS = 360
MAX_BINS = 16
"""Groups with at most this many elements have a bin for each; others have ranges of angles."""
MAX_KEPT = 1 << 22
"""Tables of more positions are not kept."""
DIGITS = 6
"""Positions are rounded to so many digits first, so that halves go one way on every machine."""


class Turns:
    """Rotations by multiples of 360/n degrees; an element is their number, int64 in 0 to n - 1.

    Images turn counter-clockwise within the inscribed disc, and the corners stay. The distance is
    the angle in radians.
    """

    is_exact = False
    margin = 0.0
    num_axes = 2
    num_uniforms = 1
    action_components = SO2.action_components

    def __init__(self, num: int) -> None:
        """Raises ValueError unless `num` is from 2 to 360."""
        self.name, self.num_elements = f"turns:{num}", num
        if not 2 <= num <= MAX_TURNS:
            raise ValueError(f"group {self.name!r}: NUM {num} must lie between 2 and {MAX_TURNS}")
        self._step = 2 * math.pi / num

    @property
    def bin_names(self) -> tuple[str, ...]:
        if self.num_elements <= MAX_BINS:
            return tuple(self.names(self.elements()))
        return ANGLE_BIN_NAMES

    def check_spatial_shape(self, spatial_shape: tuple[int, ...]) -> None:
        """Raise ValueError unless this is a square image."""
        check_lattice(self.name, spatial_shape, self.num_axes)

    def check_latent_shape(self, spatial_shape: tuple[int, ...]) -> None:
        """Raise ValueError unless this is a square of enough cells to turn."""
        check_lattice(self.name, spatial_shape, self.num_axes)
        check_interpolated_latent(self.name, spatial_shape)

    def elements(self) -> torch.Tensor:
        return torch.arange(self.num_elements)

    def examples(self) -> torch.Tensor:
        num = min(self.num_elements, 8)
        return torch.arange(num) * self.num_elements // num

    def identity(self, num: int) -> torch.Tensor:
        return torch.zeros(num, dtype=torch.int64)

    def compose(self, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return (g + h) % self.num_elements

    def inverse(self, g: torch.Tensor) -> torch.Tensor:
        return -g % self.num_elements

    def sample(self, rng: np.random.Generator, num: int) -> torch.Tensor:
        return torch.from_numpy(rng.integers(0, self.num_elements, size=num, dtype=np.int64))

    def from_uniforms(self, uniforms: torch.Tensor) -> torch.Tensor:
        place: torch.Tensor = uniforms[:, 0] * self.num_elements
        return place.to(torch.int64)

    def distance(self, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        turns = (h - g) % self.num_elements
        return torch.minimum(turns, self.num_elements - turns) * self._step

    def encode(self, g: torch.Tensor) -> torch.Tensor:
        angle = g.to(torch.float64) * self._step
        return torch.stack((angle.cos(), angle.sin()), 1).to(torch.float32)

    def decode(self, action: torch.Tensor) -> torch.Tensor:
        """The element with the nearest angle."""
        angle = torch.atan2(action[:, 1], action[:, 0])
        return (angle / self._step).round().to(torch.int64) % self.num_elements

    def names(self, g: torch.Tensor) -> list[str]:
        """Degrees, 0 to below 360."""
        return [f"{360 * turns / self.num_elements:g}" for turns in g.tolist()]

    def element_index(self, g: torch.Tensor) -> torch.Tensor:
        return g

    def bin_index(self, g: torch.Tensor) -> torch.Tensor:
        if self.num_elements <= MAX_BINS:
            return g
        return angle_bin_index(self.distance(g, torch.zeros_like(g)), g == 0)

    def act_on_image(self, image: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return _turned(image, g, self.num_elements)

    def act_by_vector(self, image: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return self.act_on_image(image, self.decode(action))

    def act_on_latent(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return _turned(latent, g, self.num_elements)

    def irreps(self, max_frequency: int) -> tuple[Irrep, ...]:
        """Trivial, a rotation of the plane for each frequency below n/2, and for even n the sign;
        whatever the bound."""
        num = self.num_elements
        turning = (Irrep(f"frequency {f}", 2, partial(_matrix, num, f)) for f in _frequencies(num))
        sign = (Irrep("sign", 1, _sign),) if num % 2 == 0 else ()
        return (Irrep("trivial", 1, _trivial), *turning, *sign)


def _frequencies(num: int) -> range:
    return range(1, (num + 1) // 2)


def _matrix(num: int, frequency: int, g: torch.Tensor) -> torch.Tensor:
    return planar_matrix(1, (frequency * g % num).to(torch.float32) * (2 * math.pi / num))


def _trivial(g: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(g), 1, 1, device=g.device)


def _sign(g: torch.Tensor) -> torch.Tensor:
    return (1.0 - 2.0 * (g % 2)).view(-1, 1, 1)


def _turned(image: torch.Tensor, g: torch.Tensor, num: int) -> torch.Tensor:
    """Each image (N, C, S, S) of any dtype turned by its own number of steps."""
    side = image.shape[-1]
    if torch.compiler.is_compiling() or num * side**2 > MAX_KEPT:
        index = _places(g, num, side)
    else:
        index = _kept_places(num, side, image.device)[g]
    flat = image.flatten(-2)
    return flat.gather(-1, index.unsqueeze(1).expand_as(flat)).view(image.shape)


def _places(g: torch.Tensor, num: int, side: int) -> torch.Tensor:
    """Where each pixel of a turned (S, S) lattice comes from, (N, S * S) int64, for g (N,).

    Pixels outside the inscribed disc come from where they are.
    """
    middle = (side - 1) / 2
    line = torch.arange(side, dtype=torch.float64, device=g.device) - middle
    x, y = line.repeat(side), -line.repeat_interleave(side)
    angle = g.to(torch.float64)[:, None] * (2 * math.pi / num)
    before = (angle.cos() * x + angle.sin() * y, angle.sin() * x - angle.cos() * y)
    column, row = (_nearest(position + middle, side) for position in before)
    stay = torch.arange(side * side, device=g.device)
    return torch.where(x.square() + y.square() <= middle**2, row * side + column, stay)


def _nearest(position: torch.Tensor, side: int) -> torch.Tensor:
    rounded = (torch.round(position, decimals=DIGITS) + 0.5).floor()
    return rounded.to(torch.int64).clamp(0, side - 1)


@lru_cache(maxsize=16)
def _kept_places(num: int, side: int, device: torch.device) -> torch.Tensor:
    # A tensor born in inference mode could later not take part in training.
    with torch.inference_mode(False):
        return _places(torch.arange(num, device=device), num, side)


GROUP = Kind("turns", None, Turns)
"""`make` takes the number of rotations."""
