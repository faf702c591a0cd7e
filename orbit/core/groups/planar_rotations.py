"""SO(2): all rotations of the plane, on images by bilinear interpolation; bins of angles."""

import math

import numpy as np
import torch

from orbit.core.groups.interface import ActionComponent, Irrep
from orbit.core.groups.interpolation import (
    check_interpolated_latent,
    check_lattice,
    no_elements,
    rotate_inscribed,
)
from orbit.core.groups.irreps import planar_irreps, planar_matrix
from orbit.core.plugins import Kind

ANGLE_BIN_NAMES = ("identity", "0-45", "45-90", "90-135", "135-180")
TOLERANCE = 1e-5
"""Radians; the rounding error of the identity in float32 after a few compositions."""


def angle_bin_index(angle: torch.Tensor, is_identity: torch.Tensor) -> torch.Tensor:
    """Position in `ANGLE_BIN_NAMES` of each angle, (N,) int64.

    `angle` in radians from 0 to pi; a range includes its upper end. `is_identity` (N,) bool marks
    the elements of bin 0.
    """
    index = torch.ones_like(angle, dtype=torch.int64)
    for degrees in (45, 90, 135):
        index += (angle > math.radians(degrees) + TOLERANCE).to(torch.int64)
    return index.masked_fill(is_identity, 0)


class SO2:
    """Rotations of the plane; an element is its counter-clockwise angle in radians, (N,).

    Images turn within the inscribed disc and the corners stay, so constant images do not change.
    The laws of a group action hold only up to the error of interpolation.
    """

    name = "so2"
    num_elements = None
    is_exact = False
    margin = 0.0
    num_axes = 2
    element_shape: tuple[int, ...] = ()
    num_uniforms = 1
    action_components = (
        ActionComponent("cosine", "cosine of the counter-clockwise angle", "1", -1.0, 1.0),
        ActionComponent("sine", "sine of the counter-clockwise angle", "1", -1.0, 1.0),
    )
    bin_names = ANGLE_BIN_NAMES

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
        return torch.arange(8.0) * (math.pi / 4)

    def identity(self, num: int) -> torch.Tensor:
        return torch.zeros(num)

    def compose(self, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return _to_half_turns(g + h)

    def inverse(self, g: torch.Tensor) -> torch.Tensor:
        return -g

    def sample(self, rng: np.random.Generator, num: int) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(-math.pi, math.pi, num)).to(torch.float32)

    def from_uniforms(self, uniforms: torch.Tensor) -> torch.Tensor:
        return ((2 * uniforms[:, 0] - 1) * math.pi).to(torch.float32)

    def distance(self, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return _to_half_turns(h - g).abs()

    def encode(self, g: torch.Tensor) -> torch.Tensor:
        return torch.stack((g.cos(), g.sin()), 1).to(torch.float32)

    def decode(self, action: torch.Tensor) -> torch.Tensor:
        return torch.atan2(action[:, 1], action[:, 0])

    def names(self, g: torch.Tensor) -> list[str]:
        """Whole degrees, 0 to 359."""
        return [f"{round(math.degrees(angle)) % 360}" for angle in g.tolist()]

    def element_index(self, g: torch.Tensor) -> torch.Tensor:
        raise no_elements(self.name)

    def bin_index(self, g: torch.Tensor) -> torch.Tensor:
        angle = _to_half_turns(g).abs()
        return angle_bin_index(angle, angle <= TOLERANCE)

    def matrix(self, g: torch.Tensor) -> torch.Tensor:
        """Rotation matrices (N, 2, 2) acting on columns (x, y)."""
        return planar_matrix(1, g)

    def matrix_of_vector(self, action: torch.Tensor) -> torch.Tensor:
        """`matrix` of the elements with these action vectors (N, 2), with the same bits."""
        cosine, sine = action.unbind(1)
        return torch.stack((cosine, -sine, sine, cosine), -1).view(-1, 2, 2)

    def act_on_image(self, image: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return rotate_inscribed(image, self.matrix(g))

    def act_by_vector(self, image: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return rotate_inscribed(image, self.matrix_of_vector(action))

    def act_on_latent(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return rotate_inscribed(latent, self.matrix(g))

    def irreps(self, max_frequency: int) -> tuple[Irrep, ...]:
        """Trivial, and a rotation of the plane for each frequency from 1."""
        return planar_irreps(max_frequency)


def _to_half_turns(angle: torch.Tensor) -> torch.Tensor:
    """The same angle from -pi to pi; unchanged if it already lies there."""
    return angle - 2 * math.pi * torch.round(angle / (2 * math.pi))


GROUP = Kind("so2", None, SO2)
