"""What a group offers: elements, products, names, actions on frames; constants on a device.

A batch of group elements is a tensor whose first axis is the batch; the group decides what the
other axes hold (a quarter-turn count, a quaternion, ...). Outside a group, elements travel as
*action vectors*: float32 rows of fixed length, described by `action_components`.

Coordinates of a frame are x along its last axis to the right, y along the last but one axis
*upwards*, z along the first of three axes, from the centre of the lattice. Images turn
counter-clockwise as seen; a rotation matrix acts on columns (x, y) or (x, y, z).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch

from orbit.core.actions import ActionComponent

Function = TypeVar("Function", bound=Callable[..., object])


def constant_to_compiler(function: Function) -> Function:
    """What `torch.compiler.assume_constant_result` does, without importing the compiler.

    That import takes a second, which programs that compile nothing save.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


MIN_INTERPOLATED_LATENT_SIDE = 14
"""With fewer cells a side, interpolation loses most of the information of a latent."""


@dataclass(frozen=True)
class Irrep:
    """A real irreducible representation: orthogonal matrices of one size.

    `matrix` maps elements (N, ...) to (N, size, size), float32 unless the elements
    are float64, and is a homomorphism: matrix(g h) = matrix(g) matrix(h).
    """

    name: str
    size: int
    matrix: Callable[[torch.Tensor], torch.Tensor]


class Group(Protocol):
    """A group with one convention for images, latents and action vectors.

    The action is a left action: acting with h and then with g equals acting
    with `compose(g, h)`.
    """

    @property
    def name(self) -> str:
        """The name of the group in configurations and manifests."""

    @property
    def action_components(self) -> tuple[ActionComponent, ...]:
        """What each number of an action vector means."""

    @property
    def num_elements(self) -> int | None:
        """Number of elements of a finite group, None for a continuous one."""

    @property
    def is_exact(self) -> bool:
        """Whether the action only moves lattice values, so that its laws hold bit for bit."""

    @property
    def bin_names(self) -> tuple[str, ...]:
        """Names of the sets of elements for which metrics are given separately; the identity first.

        These are single elements if there are few, otherwise ranges of the distance from the
        identity.
        """

    @property
    def margin(self) -> float:
        """Pixels between the content and the rim of the inscribed disc or ball that are needed so
        that no element drawn by `sample` moves content out of the frame."""

    def check_spatial_shape(self, spatial_shape: tuple[int, ...]) -> None:
        """Raise ValueError if the group cannot act on frames of this lattice."""

    def check_latent_shape(self, spatial_shape: tuple[int, ...]) -> None:
        """Raise ValueError if the group cannot act on spatial latents of this lattice."""

    def elements(self) -> torch.Tensor:
        """All elements of a finite group, identity first; ValueError for a continuous one."""

    def examples(self) -> torch.Tensor:
        """At most 8 typical elements for pictures, identity first."""

    def identity(self, num: int) -> torch.Tensor:
        """A batch of `num` identities."""

    def compose(self, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """The elements g h: first h acts, then g."""

    def inverse(self, g: torch.Tensor) -> torch.Tensor:
        """The elements whose composition with g is the identity."""

    def sample(self, rng: np.random.Generator, num: int) -> torch.Tensor:
        """`num` elements from the group's uniform (Haar) distribution."""

    @property
    def num_uniforms(self) -> int:
        """How many uniform numbers `from_uniforms` needs for one element."""

    def from_uniforms(self, uniforms: torch.Tensor) -> torch.Tensor:
        """An element for each row (N, num_uniforms) of float64 numbers in [0, 1).

        If these are uniform, the elements have the distribution of `sample`.
        """

    def distance(self, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """A left-invariant metric, (N,) float: the angle between rotations in radians."""

    def encode(self, g: torch.Tensor) -> torch.Tensor:
        """Elements to action vectors, float32 of shape (N, len(action_components))."""

    def decode(self, action: torch.Tensor) -> torch.Tensor:
        """Action vectors to elements; the inverse of `encode`."""

    def names(self, g: torch.Tensor) -> list[str]:
        """A short name of each element, for pictures."""

    def element_index(self, g: torch.Tensor) -> torch.Tensor:
        """Position of each element of a finite group in `elements`, int64 of shape (N,)."""

    def bin_index(self, g: torch.Tensor) -> torch.Tensor:
        """The bin (see `bin_names`) of each element, int64 (N,); 0 is the identity alone."""

    def act_on_image(self, image: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """Transform images (N, C, H, W) or volumes (N, C, D, H, W), one element each."""

    def act_by_vector(self, image: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """`act_on_image` by the elements with these action vectors, with the same bits.

        `decode` may round vectors; this does not.
        """

    def act_on_latent(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """Transform spatial latents (N, C, h, w) or (N, C, d, h, w), one element each."""

    def irreps(self, max_frequency: int) -> tuple[Irrep, ...]:
        """Irreducible representations, trivial first, up to a frequency or degree.

        A finite group returns all its irreps and ignores the bound. Raises ValueError if the group
        offers no representations.
        """
