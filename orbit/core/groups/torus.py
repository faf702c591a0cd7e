"""SO(2) x SO(2): pairs of angles, and two ways in which they act on images.

`turn_hue`   the first angle turns the frame, as `so2` does, the second the hue of its colours
`torus`      the frame is shifted round its edges, by the first angle to the right and by the second
             upwards; a full turn is the side of the frame

Hue is turned by a rotation of the space of red, green and blue about the axis of greys, a linear
map: greys, and so a black background, stay, and it commutes with the turn of the frame. Values stay
between black and white if colours are not too saturated: red, green and blue of
(1 + cos(hue - 120 degrees times 0, 1, 2)) / 2 do for every hue.
"""

import math
from functools import partial

import numpy as np
import torch

from orbit.core.groups.interface import ActionComponent, Irrep
from orbit.core.groups.interpolation import (
    check_interpolated_latent,
    check_lattice,
    no_elements,
    rotate_inscribed,
    shift_round,
    transform_channels,
)
from orbit.core.groups.irreps import planar_matrix
from orbit.core.groups.planar_rotations import ANGLE_BIN_NAMES, TOLERANCE, angle_bin_index
from orbit.core.plugins import Kind

NUM_COLOURS = 3


class Torus:
    """Two angles in radians, (N, 2); cyclic shifts of square images by linear interpolation.

    The distance is the root of the sum of squares of both angles' distances. Bins are those of the
    larger one. Shifts by whole pixels are exact, others blur, so that the laws of the action hold
    up to the error of interpolation. Positions are computed in the precision of the elements.
    """

    name = "torus"
    num_elements = None
    is_exact = False
    margin = 0.0
    num_axes = 2
    num_uniforms = 2
    bin_names = ANGLE_BIN_NAMES
    meanings = ("the angle of the shift to the right", "the angle of the shift upwards")

    @property
    def action_components(self) -> tuple[ActionComponent, ...]:
        return tuple(
            ActionComponent(f"{function}{end}", f"{function} of {meaning}", "1", -1.0, 1.0)
            for end, meaning in zip(("", "_2"), self.meanings, strict=True)
            for function in ("cosine", "sine")
        )

    def check_spatial_shape(self, spatial_shape: tuple[int, ...]) -> None:
        """Raise ValueError unless this is a square image."""
        check_lattice(self.name, spatial_shape, self.num_axes)

    def check_latent_shape(self, spatial_shape: tuple[int, ...]) -> None:
        """Raise ValueError unless this is a square of enough cells to interpolate."""
        check_lattice(self.name, spatial_shape, self.num_axes)
        check_interpolated_latent(self.name, spatial_shape)

    def elements(self) -> torch.Tensor:
        raise no_elements(self.name)

    def examples(self) -> torch.Tensor:
        steps = torch.tensor(
            [[0, 0], [1, 0], [0, 1], [2, 0], [0, 2], [1, 1], [2, 2], [3, 1]], dtype=torch.float32
        )
        return _to_half_turns(steps * (math.pi / 2))

    def identity(self, num: int) -> torch.Tensor:
        return torch.zeros(num, 2)

    def compose(self, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return _to_half_turns(g + h)

    def inverse(self, g: torch.Tensor) -> torch.Tensor:
        return -g

    def sample(self, rng: np.random.Generator, num: int) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(-math.pi, math.pi, (num, 2))).to(torch.float32)

    def from_uniforms(self, uniforms: torch.Tensor) -> torch.Tensor:
        return ((2 * uniforms - 1) * math.pi).to(torch.float32)

    def distance(self, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return self.distances(g, h).square().sum(1).sqrt()

    def distances(self, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """The distance of each of the two angles, (N, 2) from 0 to pi."""
        return _to_half_turns(h - g).abs()

    def grid(self, num_angles: int) -> torch.Tensor:
        """All pairs of the multiples of 2 pi / `num_angles`, the second one fastest, the identity
        first, (num_angles^2, 2)."""
        angles = torch.arange(num_angles) * (2 * math.pi / num_angles)
        return _to_half_turns(torch.cartesian_prod(angles, angles))

    def encode(self, g: torch.Tensor) -> torch.Tensor:
        return self._vector(g).to(torch.float32)

    def decode(self, action: torch.Tensor) -> torch.Tensor:
        return torch.atan2(action[:, 1::2], action[:, ::2])

    def names(self, g: torch.Tensor) -> list[str]:
        """Whole degrees, 0 to 359 each, such as (90, 45)."""
        degrees = g.rad2deg().round().to(torch.int64) % 360
        return [f"({first}, {second})" for first, second in degrees.tolist()]

    def element_index(self, g: torch.Tensor) -> torch.Tensor:
        raise no_elements(self.name)

    def bin_index(self, g: torch.Tensor) -> torch.Tensor:
        angle = _to_half_turns(g).abs().amax(1)
        return angle_bin_index(angle, angle <= TOLERANCE)

    def act_on_image(self, image: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        # By the vector, so that frames made from either are the same.
        return self.act_by_vector(image, self._vector(g))

    def act_by_vector(self, image: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return shift_round(image, self.decode(action) * (image.shape[-1] / (2 * math.pi)))

    def act_on_latent(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return self.act_on_image(latent, g)

    def irreps(self, max_frequency: int) -> tuple[Irrep, ...]:
        """Trivial, and rotations of the plane by a t1 + b t2 for frequencies (a, b), one of (a, b)
        and (-a, -b), with |a| + |b| up to the bound, in ascending order of this sum.

        With 1 as the bound these are (1, 0) and (0, 1): each angle turns planes of its own.
        """
        if max_frequency < 0:
            raise ValueError(
                f"the highest frequency of a representation is {max_frequency}, below 0"
            )
        return (
            Irrep("trivial", 1, _trivial),
            *(
                Irrep(f"frequencies ({a}, {b})", 2, partial(_matrix, (a, b)))
                for size in range(1, max_frequency + 1)
                for a, b in _frequencies(size)
            ),
        )

    def _vector(self, g: torch.Tensor) -> torch.Tensor:
        """`encode` in the precision of the elements."""
        return torch.stack((g.cos(), g.sin()), 2).flatten(1)


class TurnHue(Torus):
    """Two angles: the turn of the frame within the inscribed disc, and that of the hue.

    It acts on images of three channels. A latent has no hue: see `check_latent_shape`.
    """

    name = "turn_hue"
    meanings = ("the counter-clockwise angle of the frame", "the angle of the hue")

    def check_latent_shape(self, spatial_shape: tuple[int, ...]) -> None:
        """Raise ValueError: channels of a latent are no colours."""
        raise ValueError(
            f"group {self.name} turns hues, which cells of a latent do not have: use"
            " task.action.name=representation or learned, with task.model.vector_size"
        )

    def act_by_vector(self, image: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        if image.ndim != 4 or image.shape[1] != NUM_COLOURS:
            raise ValueError(
                f"group {self.name} turns the hue of images of {NUM_COLOURS} channels; these are"
                f" of shape {tuple(image.shape[1:])}"
            )
        cosine, sine, hue_cosine, hue_sine = action.unbind(1)
        matrix = torch.stack((cosine, -sine, sine, cosine), -1).view(-1, 2, 2)
        # Frames are rounded once, after both.
        values = image.to(action.dtype) if image.dtype == torch.uint8 else image
        turned = rotate_inscribed(values, matrix)
        return transform_channels(turned, hue_matrix(hue_cosine, hue_sine), image.dtype)

    def act_on_latent(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        raise ValueError(f"group {self.name} does not act on cells of a latent")


def hue_matrix(cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotations (N, 3, 3) of (red, green, blue) about the greys, from red to green by 120 degrees,
    of angles with cosines and sines (N,)."""
    grey = (1 - cosine) / 3
    side = sine / math.sqrt(3)
    rows = (cosine + grey, grey + side, grey - side)
    return torch.stack(
        [torch.stack([rows[(i - j) % 3] for j in range(3)], -1) for i in range(3)], 1
    )


def _frequencies(size: int) -> list[tuple[int, int]]:
    """Those with |a| + |b| = size and a > 0, or a = 0 and b > 0: a descending, b positive first."""
    found = [(size, 0)]
    for a in range(size - 1, 0, -1):
        found += [(a, size - a), (a, a - size)]
    return [*found, (0, size)]


def _matrix(frequencies: tuple[int, int], g: torch.Tensor) -> torch.Tensor:
    a, b = frequencies
    return planar_matrix(1, a * g[:, 0] + b * g[:, 1])


def _trivial(g: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(g), 1, 1, dtype=g.dtype, device=g.device)


def _to_half_turns(angle: torch.Tensor) -> torch.Tensor:
    """The same angles from -pi to pi; unchanged if they already lie there."""
    return angle - 2 * math.pi * torch.round(angle / (2 * math.pi))


TORUS, TURN_HUE = Kind("torus", None, Torus), Kind("turn_hue", None, TurnHue)
