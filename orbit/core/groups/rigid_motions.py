"""Rotations together with real shifts, on frames of a given side by interpolation."""

import math

import numpy as np
import torch

from orbit.core.groups.interface import ActionComponent, Irrep
from orbit.core.groups.interpolation import (
    check_interpolated_latent,
    check_lattice,
    check_period,
    check_volume,
    move_frame,
    no_elements,
    no_irreps,
    shift_name,
)
from orbit.core.groups.planar_rotations import ANGLE_BIN_NAMES, SO2, TOLERANCE, angle_bin_index
from orbit.core.groups.space_rotations import SO3
from orbit.core.plugins import Kind


class RigidMotions:
    """p -> R p + t: a rotation about the centre of the frame, then a shift.

    An element is a row of the rotation's numbers (the angle, or the quaternion) followed by the
    shift in pixels of a frame of side `period`, (N, 3) or (N, 7). Compositions may exceed any
    bound; `sample` draws shifts from the cube [-max_shift, max_shift], and the action components
    state this range. Areas that come into view repeat the border. The distance is the root of the
    sum of squares of the angle and of the shift, both in radians; a shift t counts 2 pi |t| /
    period.
    """

    num_elements = None
    is_exact = False
    bin_names = ANGLE_BIN_NAMES
    """Bins of the rotation's angle, whatever the shift; the first holds the identity alone."""

    def __init__(self, name: str, rotations: SO2 | SO3, period: int, max_shift: float) -> None:
        self.name, self.rotations = name, rotations
        self.period, self.max_shift = period, max_shift
        self.margin = float(max_shift)
        self.num_axes = rotations.num_axes

    @property
    def action_components(self) -> tuple[ActionComponent, ...]:
        meanings = ("to the right", "upwards", "along the first axis")
        return self.rotations.action_components + tuple(
            ActionComponent(
                f"shift_{axis}", f"shift {meaning}", "pixel", -self.max_shift, self.max_shift
            )
            for axis, meaning in list(zip("xyz", meanings, strict=True))[: self.num_axes]
        )

    def check_spatial_shape(self, spatial_shape: tuple[int, ...]) -> None:
        """Raise ValueError unless this is a square or cube of side `period`."""
        if self.num_axes == 3:
            check_volume(self.name, spatial_shape)
        check_period(self.name, spatial_shape, self.num_axes, self.period)

    def check_latent_shape(self, spatial_shape: tuple[int, ...]) -> None:
        """Raise ValueError unless this is a square or cube of enough cells to interpolate."""
        check_lattice(self.name, spatial_shape, self.num_axes)
        check_interpolated_latent(self.name, spatial_shape)

    def elements(self) -> torch.Tensor:
        raise no_elements(self.name)

    def examples(self) -> torch.Tensor:
        rotations = self.rotations.examples()
        shifts = torch.zeros(len(rotations), self.num_axes)
        for row in range(1, len(rotations)):
            shifts[row, row % self.num_axes] = self.max_shift * (-1) ** row / (1 + row % 2)
        return self._join(rotations, shifts)

    def identity(self, num: int) -> torch.Tensor:
        return self._join(self.rotations.identity(num), torch.zeros(num, self.num_axes))

    def compose(self, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        (turn_g, shift_g), (turn_h, shift_h) = self._split(g), self._split(h)
        shift = shift_g + _turn(self.rotations.matrix(turn_g), shift_h)
        return self._join(self.rotations.compose(turn_g, turn_h), shift)

    def inverse(self, g: torch.Tensor) -> torch.Tensor:
        rotation, shift = self._split(g)
        back = self.rotations.inverse(rotation)
        return self._join(back, -_turn(self.rotations.matrix(back), shift))

    def sample(self, rng: np.random.Generator, num: int) -> torch.Tensor:
        """Rotations uniform, shifts uniform in the cube of side twice `max_shift`."""
        rotation = self.rotations.sample(rng, num)
        shift = rng.uniform(-self.max_shift, self.max_shift, (num, self.num_axes))
        return self._join(rotation, torch.from_numpy(shift).to(torch.float32))

    @property
    def num_uniforms(self) -> int:
        return self.rotations.num_uniforms + self.num_axes

    def from_uniforms(self, uniforms: torch.Tensor) -> torch.Tensor:
        rotation = self.rotations.from_uniforms(uniforms[:, : -self.num_axes])
        shift = (2 * uniforms[:, -self.num_axes :] - 1) * self.max_shift
        return self._join(rotation, shift.to(torch.float32))

    def distance(self, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        (turn_g, shift_g), (turn_h, shift_h) = self._split(g), self._split(h)
        angle = self.rotations.distance(turn_g, turn_h)
        return torch.hypot(angle, (shift_h - shift_g).norm(dim=1) * (2 * math.pi / self.period))

    def encode(self, g: torch.Tensor) -> torch.Tensor:
        rotation, shift = self._split(g)
        return torch.cat((self.rotations.encode(rotation), shift.to(torch.float32)), 1)

    def decode(self, action: torch.Tensor) -> torch.Tensor:
        rotation, shift = action[:, : -self.num_axes], action[:, -self.num_axes :]
        return self._join(self.rotations.decode(rotation), shift)

    def names(self, g: torch.Tensor) -> list[str]:
        rotation, shift = self._split(g)
        pairs = zip(self.rotations.names(rotation), shift.tolist(), strict=True)
        return [f"{name} + {shift_name(row)}" for name, row in pairs]

    def element_index(self, g: torch.Tensor) -> torch.Tensor:
        raise no_elements(self.name)

    def bin_index(self, g: torch.Tensor) -> torch.Tensor:
        rotation, shift = self._split(g)
        identity = self.rotations.identity(len(g)).to(rotation)
        angle = self.rotations.distance(identity, rotation)
        is_still = (shift.abs() <= TOLERANCE * self.period).all(1)
        return angle_bin_index(angle, (angle <= TOLERANCE) & is_still)

    def act_on_image(self, image: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return self._act(image, g)

    def act_by_vector(self, image: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        rotation, shift = action[:, : -self.num_axes], action[:, -self.num_axes :]
        return self._move(image, self.rotations.matrix_of_vector(rotation), shift)

    def act_on_latent(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return self._act(latent, g)

    def irreps(self, max_frequency: int) -> tuple[Irrep, ...]:
        raise no_irreps(self.name)

    def _act(self, x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        rotation, shift = self._split(g)
        return self._move(x, self.rotations.matrix(rotation), shift)

    def _move(self, x: torch.Tensor, matrix: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return move_frame(x, matrix, shift * (x.shape[-1] / self.period))

    def _split(self, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rotation, shift = g[:, : -self.num_axes], g[:, -self.num_axes :]
        return rotation.reshape(len(g), *self.rotations.element_shape), shift

    def _join(self, rotation: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return torch.cat((rotation.reshape(len(shift), -1), shift), 1)


def _turn(matrix: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    return (matrix * shift[:, None]).sum(-1)


SHIFTED = (
    Kind("so2+shift", None, lambda name, period, most: RigidMotions(name, SO2(), period, most)),
    Kind("so3+shift", None, lambda name, period, most: RigidMotions(name, SO3(), period, most)),
)
"""`make` takes the name, the side of a frame and the greatest shift in pixels."""
