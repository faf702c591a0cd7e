"""An autoencoder of pictures whose latents are matrices, and the matrix that moves them on.

    H_t = E(x_t),    M = argmin |H_0 M - H_1|^2,    x_2 is predicted as D(H_1 M)

H has more rows than columns, and M acts on columns alone: all rows are moved alike (Miyato, Koyama,
Fukumizu, "Unsupervised Learning of Equivariant Structure from Sequences", 2022, Section 3).
"""

import math

import torch
from torch import nn

from orbit.core.store.manifest import FrameSpec
from pipeline.methods.meta_sequential.settings import MetaSequentialConfig
from pipeline.models.checkpointing import checkpoint_activations
from pipeline.models.networks import as_channels_last, make_network

GUESS_SCALE = 0.01
"""A network's first M is small, as in the authors' release."""


def transition(latents: torch.Tensor, ridge: float = 0.0) -> torch.Tensor:
    """The M (N, m, m) nearest to moving each H to the next, of latents (N, T, a, m).

    M = (A'A + ridge)^-1 A'B, where A has the rows of all H but the last, and B of all but the
    first. Gradients go through the solution. Not finite where A'A + ridge cannot be inverted.
    """
    with torch.autocast(latents.device.type, enabled=False):
        exact = latents.to(torch.promote_types(latents.dtype, torch.float32))
        before, after = exact[:, :-1].flatten(1, 2), exact[:, 1:].flatten(1, 2)
        square = before.mT @ before
        if ridge:
            square = square + ridge * torch.eye(square.shape[-1]).to(square)
        # Unlike `solve`, this does not wait for a GPU to say whether it went well.
        solution: torch.Tensor = torch.linalg.solve_ex(square, before.mT @ after).result
        return solution


class MetaSequentialModel(nn.Module):
    """`encoder` maps pictures (N, C, H, W) on [0, 1] to num_rows x num_columns numbers, `decoder`
    maps these to values before a sigmoid. A frame stacks two pictures.

    ValueError if the network's layers do not divide the picture.
    """

    def __init__(self, config: MetaSequentialConfig, frames: FrameSpec) -> None:
        super().__init__()
        self.config, self.frames = config, frames
        self.num_channels = frames.shape[0] // 2
        self.size = (config.num_rows, config.num_columns)
        made = make_network(config.model, (self.num_channels, *frames.shape[1:]))
        self.network, num = made.settings, math.prod(self.size)
        flat = math.prod(made.latent_shape)
        self.encoder = nn.Sequential(made.encoder, nn.Flatten(), nn.Linear(flat, num))
        unfold = nn.Unflatten(1, made.latent_shape)
        self.decoder = nn.Sequential(nn.Linear(num, flat), unfold, made.decoder)
        self.guess: nn.Module | None = None
        if config.objective == "neural":
            stack = make_network(config.model, (2 * self.num_channels, *frames.shape[1:]))
            last = nn.Linear(math.prod(stack.latent_shape), config.num_columns**2)
            self.guess = nn.Sequential(stack.encoder, nn.Flatten(), last)
        if getattr(config.model, "activation_checkpointing", False):
            checkpoint_activations(self)
        if getattr(config.model, "memory_format", "contiguous") == "channels_last":
            as_channels_last(self, len(frames.shape) - 1)

    def pictures(self, frames: torch.Tensor) -> torch.Tensor:
        """The pictures (N, T + 1, C, H, W) on [0, 1] of frames in a row (N, T, 2 C, H, W) as
        stored, each of which begins with the last picture of the one before."""
        low, high = self.frames.stored_range
        first = frames[:, :1, : self.num_channels]
        every = torch.cat([first, frames[:, :, self.num_channels :]], 1)
        return (every.float() - low) / (high - low)

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """H (N, T, a, m) of pictures (N, T, C, H, W) on [0, 1]."""
        flat = self.encoder(pictures.flatten(0, 1))
        latents: torch.Tensor = flat.view(*pictures.shape[:2], *self.size)
        return latents

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pictures (N, T, C, H, W) on [0, 1] of H (N, T, a, m)."""
        flat = self.decoder(latents.flatten(2).flatten(0, 1)).sigmoid()
        pictures: torch.Tensor = flat.unflatten(0, latents.shape[:2])
        return pictures

    def transition(self, pictures: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """M (N, m, m) of pictures (N, 2, C, H, W) and their H (N, 2, a, m)."""
        if self.guess is None:
            return transition(latents, self.config.ridge)
        found = GUESS_SCALE * self.guess(pictures.flatten(1, 2))
        matrices: torch.Tensor = found.unflatten(1, (self.size[1], self.size[1]))
        return matrices.to(torch.promote_types(found.dtype, torch.float32))


def moved(latent: torch.Tensor, matrix: torch.Tensor, num_steps: int) -> torch.Tensor:
    """H M, H M^2, ... (N, num_steps, a, m), of H (N, a, m) and M (N, m, m)."""
    with torch.autocast(latent.device.type, enabled=False):
        found = [latent.to(matrix)]
        for _ in range(num_steps):
            found.append(found[-1] @ matrix)
        return torch.stack(found[1:], 1)
