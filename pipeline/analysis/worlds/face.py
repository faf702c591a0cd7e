"""What an evaluation asks of a world model."""

from typing import Protocol

import torch

from pipeline.groups import Group


class WorldModel(Protocol):
    """S: frames -> y (embedding), E: y -> z (latent), T: (z, action) -> the next z.

    `act_on_embedding` and `act_on_latent` are rho_Y and rho_Z: how the group is taken to act
    there, one element a row. Either raises ValueError where the model has no such action.
    """

    @property
    def group(self) -> Group: ...

    def normalise(self, frames: torch.Tensor) -> torch.Tensor: ...

    def embed(self, images: torch.Tensor) -> torch.Tensor: ...

    def encode(self, embedding: torch.Tensor) -> torch.Tensor: ...

    def predict(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor: ...

    def act_on_embedding(self, embedding: torch.Tensor, g: torch.Tensor) -> torch.Tensor: ...

    def act_on_latent(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor: ...

    def parameters(self) -> object: ...
