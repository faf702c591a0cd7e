"""SO(3): all rotations of space, on volumes by trilinear interpolation."""

import numpy as np
import torch

from orbit.core.groups import quaternions
from orbit.core.groups.interface import Irrep
from orbit.core.groups.interpolation import (
    check_interpolated_latent,
    check_volume,
    no_elements,
    rotate_inscribed,
)
from orbit.core.groups.irreps import space_irreps
from orbit.core.groups.planar_rotations import ANGLE_BIN_NAMES, TOLERANCE, angle_bin_index
from orbit.core.groups.point_groups import QUATERNION
from orbit.core.plugins import Kind

EXAMPLES = (
    ((0, 0, 1), 0),
    ((1, 0, 0), 45),
    ((0, 1, 0), 45),
    ((0, 0, 1), 45),
    ((0, 0, 1), 90),
    ((1, 1, 1), 120),
    ((1, 1, 0), 180),
    ((0, 0, 1), 180),
)
"""Axes and degrees of the elements that pictures show."""


class SO3:
    """Rotations of space; an element is a unit quaternion (w, x, y, z), (N, 4), or its negative.

    Volumes turn within the inscribed ball and the rest stays, so constant volumes do not change.
    The laws of a group action hold only up to the error of interpolation.
    """

    name = "so3"
    num_elements = None
    is_exact = False
    margin = 0.0
    num_axes = 3
    element_shape = (4,)
    num_uniforms = 3
    action_components = QUATERNION
    bin_names = ANGLE_BIN_NAMES

    def check_spatial_shape(self, spatial_shape: tuple[int, ...]) -> None:
        """Raise ValueError unless this is a cubic volume."""
        check_volume(self.name, spatial_shape)

    def check_latent_shape(self, spatial_shape: tuple[int, ...]) -> None:
        """Raise ValueError unless this is a cube of enough cells to interpolate."""
        check_volume(self.name, spatial_shape)
        check_interpolated_latent(self.name, spatial_shape)

    def elements(self) -> torch.Tensor:
        raise no_elements(self.name)

    def examples(self) -> torch.Tensor:
        turns = [quaternions.from_axis(axis, degrees) for axis, degrees in EXAMPLES]
        return torch.stack(turns).to(torch.float32)

    def identity(self, num: int) -> torch.Tensor:
        return torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(num, 1)

    def compose(self, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return quaternions.multiply(g, h)

    def inverse(self, g: torch.Tensor) -> torch.Tensor:
        return quaternions.conjugate(g)

    def sample(self, rng: np.random.Generator, num: int) -> torch.Tensor:
        return quaternions.sample(rng, num)

    def from_uniforms(self, uniforms: torch.Tensor) -> torch.Tensor:
        return quaternions.from_uniforms(uniforms)

    def distance(self, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return quaternions.angle(quaternions.multiply(quaternions.conjugate(g), h))

    def encode(self, g: torch.Tensor) -> torch.Tensor:
        return quaternions.canonical(g).to(torch.float32).clamp(-1, 1)

    def decode(self, action: torch.Tensor) -> torch.Tensor:
        """The vectors scaled to unit length, so that rounded action vectors are accepted."""
        length: torch.Tensor = action.norm(dim=-1, keepdim=True)
        return action / length

    def names(self, g: torch.Tensor) -> list[str]:
        return [quaternions.name(q) for q in g]

    def element_index(self, g: torch.Tensor) -> torch.Tensor:
        raise no_elements(self.name)

    def bin_index(self, g: torch.Tensor) -> torch.Tensor:
        angle = quaternions.angle(g)
        return angle_bin_index(angle, angle <= TOLERANCE)

    def matrix(self, g: torch.Tensor) -> torch.Tensor:
        """Rotation matrices (N, 3, 3) acting on columns (x, y, z)."""
        return quaternions.to_matrix(g)

    def matrix_of_vector(self, action: torch.Tensor) -> torch.Tensor:
        """`matrix` of the elements with these action vectors (N, 4), with the same bits."""
        return quaternions.to_matrix(action)

    def act_on_image(self, image: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return rotate_inscribed(image, self.matrix(g))

    def act_by_vector(self, image: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return rotate_inscribed(image, self.matrix_of_vector(action))

    def act_on_latent(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return rotate_inscribed(latent, self.matrix(g))

    def irreps(self, max_frequency: int) -> tuple[Irrep, ...]:
        """Degrees 0 to `max_frequency`, of sizes 1, 3, 5, ..."""
        return space_irreps(max_frequency)


GROUP = Kind("so3", None, SO3)
