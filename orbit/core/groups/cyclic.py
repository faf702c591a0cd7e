"""C4, the four quarter turns of the square lattice.

The paper speaks of SO(2); its released script and its figures use exact
quarter turns, `rot90` of the last two axes of image and latent alike
(Swarnali et al., Section "Group action"; script `rotated_mnist.py`). A volume
turns about its first spatial axis, as in the paper's 3D figures.
"""

import math

import numpy as np
import torch

from orbit.core.groups.interface import Irrep
from orbit.core.groups.point_groups import QUARTER_TURNS, TURN_NAMES, point_irreps
from orbit.core.plugins import Kind


def rotate_quarter_turns(x: torch.Tensor, num_turns: torch.Tensor) -> torch.Tensor:
    """Rotate each sample counter-clockwise in its last two axes, by its own number of turns.

    `x` has shape (N, ..., S, S), `num_turns` int64 of shape (N,) with values 0 to 3. Values are
    moved, never computed with: the result has the bits of a loop of `torch.rot90`, for any dtype.
    One gather by table, with its backward pass, is about four times faster than selecting among
    rotated copies.
    """
    index = _turned_places(x.shape[-1], x.device)[num_turns]
    index = index.view(len(x), *(1,) * (x.ndim - 3), -1)
    return x.flatten(-2).gather(-1, index.expand(*x.shape[:-2], -1)).view(x.shape)


def _turned_places(size: int, device: torch.device) -> torch.Tensor:
    """Where each value of a turned (size, size) lattice comes from, (4, size * size) int64."""
    places = torch.arange(size * size, device=device).view(size, size)
    return torch.stack([places.rot90(turns).reshape(-1) for turns in range(4)])


class C4:
    """Quarter turns; an element is the number of counter-clockwise turns, int64 in 0..3."""

    name = "c4"
    num_elements = 4
    is_exact = True
    margin = 0.0
    num_uniforms = 1
    action_components = (QUARTER_TURNS,)
    bin_names = TURN_NAMES

    def check_spatial_shape(self, spatial_shape: tuple[int, ...]) -> None:
        """Raise ValueError unless the last two axes span a square."""
        if len(spatial_shape) < 2 or spatial_shape[-1] != spatial_shape[-2]:
            raise ValueError(
                f"group c4 turns square images; the last two axes here are {spatial_shape[-2:]}"
            )

    def check_latent_shape(self, spatial_shape: tuple[int, ...]) -> None:
        """As for frames."""
        self.check_spatial_shape(spatial_shape)

    def elements(self) -> torch.Tensor:
        return torch.arange(4)

    def examples(self) -> torch.Tensor:
        return torch.arange(4)

    def identity(self, num: int) -> torch.Tensor:
        return torch.zeros(num, dtype=torch.int64)

    def compose(self, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return (g + h) & 3

    def inverse(self, g: torch.Tensor) -> torch.Tensor:
        return -g & 3

    def sample(self, rng: np.random.Generator, num: int) -> torch.Tensor:
        return torch.from_numpy(rng.integers(0, 4, size=num, dtype=np.int64))

    def from_uniforms(self, uniforms: torch.Tensor) -> torch.Tensor:
        return (uniforms[:, 0] * 4).to(torch.int64)

    def distance(self, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        turns = (h - g) & 3
        return torch.minimum(turns, 4 - turns) * (math.pi / 2)

    def encode(self, g: torch.Tensor) -> torch.Tensor:
        return g.to(torch.float32).unsqueeze(1)

    def decode(self, action: torch.Tensor) -> torch.Tensor:
        return action[:, 0].round().to(torch.int64) & 3

    def names(self, g: torch.Tensor) -> list[str]:
        return [TURN_NAMES[turns] for turns in g.tolist()]

    def element_index(self, g: torch.Tensor) -> torch.Tensor:
        return g

    def bin_index(self, g: torch.Tensor) -> torch.Tensor:
        return g

    def act_on_image(self, image: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return rotate_quarter_turns(image, g)

    def act_by_vector(self, image: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return self.act_on_image(image, self.decode(action))

    def act_on_latent(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return rotate_quarter_turns(latent, g)

    def irreps(self, max_frequency: int) -> tuple[Irrep, ...]:
        """Trivial, sign and the plane's rotation, whatever the bound."""
        return point_irreps("c4")


GROUP = Kind("c4", None, C4)
