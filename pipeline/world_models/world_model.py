"""The world model of a known group: S from pixels, E and T on latents; layers of several domains.

    y = S(x),  z = E(y),  next z = T(z, a)

(Park et al., "Learning Symmetric Embeddings for Equivariant World Models"). Inputs are frames as
stored, which are normalised here, on the device, and actions as stored.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import nn

from orbit.core.groups import Group
from orbit.core.store.manifest import FrameSpec
from pipeline.global_batch import GlobalBatchNorm
from pipeline.models.latent_action import AdaptiveMask


def convolution(
    num_in: int, num_out: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> nn.Conv2d:
    """A convolution with Xavier-uniform weights and zero bias, as in the released code."""
    layer = nn.Conv2d(num_in, num_out, kernel, stride, padding, dilation)
    nn.init.xavier_uniform_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def normed(layer: nn.Conv2d) -> list[nn.Module]:
    """A convolution followed by batch norm and ReLU."""
    return [layer, GlobalBatchNorm(layer.out_channels), nn.ReLU()]


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers between sizes [in, hidden, hidden, out], with a layer norm on the second hidden
    layer."""
    num_in, first, second, num_out = sizes
    return nn.Sequential(
        nn.Linear(num_in, first),
        nn.ReLU(),
        nn.Linear(first, second),
        nn.LayerNorm(second),
        nn.ReLU(),
        nn.Linear(second, num_out),
    )


class OddMaxPool(nn.Module):
    """Max pooling by two that commutes with turns of maps of odd side.

    Windows of 3 with stride 2 map 2k + 1 cells to k + 1 (2x2 windows would leave out the last row);
    up to 3 cells become one.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        side = x.shape[-1]
        if side <= 3:
            return nn.functional.max_pool2d(x, side)
        if side % 2 == 0:
            raise ValueError(f"a map of side {side} cannot be pooled symmetrically: it is even")
        return nn.functional.max_pool2d(x, 3, stride=2, padding=1)


Representation = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""An action of the group on a batch of values (B, ...), one element each."""


class LatentParts(Protocol):
    """The parts of a model with a learned mask over S's outputs."""

    @property
    def mask(self) -> AdaptiveMask: ...

    def split(self, latent: torch.Tensor) -> dict[str, torch.Tensor]:
        """The parts of latents that the group acts on, `variant`, and does not, `invariant`."""


class WorldModel(nn.Module):
    """Embedding, encoder and transition of one domain, and the actions of the group between them.

    `num_objects` divides the energy of latents, which is a mean over objects; 1 if a latent has no
    objects. The representations are the assumed actions of the group on y and z; None if there is
    no action (the latents of a model without equivariance). `parts` is set if a mask decides on
    which outputs of S the group acts.
    """

    def __init__(
        self,
        group: Group,
        frames: FrameSpec,
        embedding: nn.Module,
        encoder: nn.Module,
        transition: nn.Module,
        embedding_action: Representation | None,
        latent_action: Representation | None,
        num_objects: int = 1,
        parts: LatentParts | None = None,
    ) -> None:
        super().__init__()
        self.parts = parts
        self.group, self.frames, self.num_objects = group, frames, num_objects
        self.embedding, self.encoder, self.transition = embedding, encoder, transition
        self._embedding_action, self._latent_action = embedding_action, latent_action
        self._scale, self._shift = frames.loading()

    def normalise(self, frames: torch.Tensor) -> torch.Tensor:
        """Stored values to the loaded range, float32."""
        return frames.to(torch.float32) * self._scale + self._shift

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """y = S(x) of normalised images."""
        y: torch.Tensor = self.embedding(images)
        return y

    def encode(self, embedding: torch.Tensor) -> torch.Tensor:
        """z = E(y)."""
        z: torch.Tensor = self.encoder(embedding)
        return z

    def latent(self, frames: torch.Tensor) -> torch.Tensor:
        """z of frames as stored."""
        return self.encode(self.embed(self.normalise(frames)))

    def predict(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """The next z = T(z, a) for action vectors (B, A) as stored."""
        following: torch.Tensor = self.transition(latent, action)
        return following

    def act_on_embedding(self, embedding: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """rho_Y(g) y for a batch of group elements; ValueError if the group has no action."""
        return _act(self._embedding_action, "embedding", embedding, g)

    def act_on_latent(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """rho_Z(g) z for a batch of group elements; ValueError if the group has no action."""
        return _act(self._latent_action, "latent", latent, g)


def _act(
    action: Representation | None, what: str, values: torch.Tensor, g: torch.Tensor
) -> torch.Tensor:
    if action is None:
        raise ValueError(f"the group has no action on the {what} of this model")
    return action(values, g.to(values.device))
