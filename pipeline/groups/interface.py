"""What every group offers to the rest of the pipeline.

A batch of group elements is a tensor whose first axis is the batch; what the
other axes hold is the group's own business (a quarter-turn count, a
quaternion, ...). Outside a group, elements travel as *action vectors*: float32
rows of fixed length, described by `action_components`.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch


@dataclass(frozen=True)
class ActionComponent:
    """One number of an action vector: its name, meaning, unit and range."""

    name: str
    meaning: str
    unit: str
    minimum: float
    maximum: float


class Group(Protocol):
    """A group with one convention for images, latents and action vectors.

    The action is a left action: acting with h and then with g equals acting
    with `compose(g, h)`.
    """

    @property
    def name(self) -> str:
        """The name by which configurations and manifests know the group."""

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
    def element_names(self) -> tuple[str, ...]:
        """Short names of a finite group's elements, in the order of `elements`."""

    def check_spatial_shape(self, spatial_shape: tuple[int, ...]) -> None:
        """Raise ValueError if the group cannot act on a lattice of this shape."""

    def elements(self) -> torch.Tensor:
        """All elements of a finite group, identity first."""

    def identity(self, num: int) -> torch.Tensor:
        """A batch of `num` identities."""

    def compose(self, g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """The elements g h: first h acts, then g."""

    def inverse(self, g: torch.Tensor) -> torch.Tensor:
        """The elements whose composition with g is the identity."""

    def sample(self, rng: np.random.Generator, num: int) -> torch.Tensor:
        """`num` elements from the group's uniform (Haar) distribution."""

    def encode(self, g: torch.Tensor) -> torch.Tensor:
        """Elements to action vectors, float32 of shape (N, len(action_components))."""

    def decode(self, action: torch.Tensor) -> torch.Tensor:
        """Action vectors to elements; the inverse of `encode`."""

    def element_index(self, g: torch.Tensor) -> torch.Tensor:
        """Position of each element of a finite group in `elements`, int64 of shape (N,)."""

    def act_on_image(self, image: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """Transform images (N, C, H, W) or volumes (N, C, D, H, W), one element each."""

    def act_on_latent(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """Transform spatial latents (N, C, h, w) or (N, C, d, h, w), one element each."""
