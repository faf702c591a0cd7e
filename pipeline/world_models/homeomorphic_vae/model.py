"""The homeomorphic VAE with the face of a world model.

Its latent is the mean rotation. It knows nothing of actions; T(z, a) = a z is what they do
if the latent should be the object's own rotation.
"""

import torch
from torch import nn

from data_prep.store.manifest import FrameSpec
from pipeline.groups import Group
from pipeline.world_models.homeomorphic_vae.lie_noise import divergence, exponential
from pipeline.world_models.homeomorphic_vae.networks import HarmonicDecoder, RotationPosterior
from pipeline.world_models.settings import HomeomorphicVAEConfig
from pipeline.world_models.teapot.networks import ProductTransition
from pipeline.world_models.teapot.rotations import act_by_multiplying, multiply
from pipeline.world_models.world_model import WorldModel


class HomeomorphicVAE(WorldModel):
    """A world model that can also draw what it sees; ValueError for frames it cannot draw."""

    embedding: RotationPosterior

    def __init__(self, config: HomeomorphicVAEConfig, group: Group, frames: FrameSpec) -> None:
        super().__init__(
            group,
            frames,
            RotationPosterior(frames.shape, config.channels),
            nn.Identity(),
            ProductTransition(),
            act_by_multiplying,
            act_by_multiplying,
        )
        self.decoder = HarmonicDecoder(
            frames.shape, config.max_degree, config.num_copies, config.decoder_channels
        )

    def reconstruct(
        self, images: torch.Tensor, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Images from drawn latents, and the KL divergences (B,); `noise` (B, 3) is normal."""
        mean, std = self.embedding.distribution(images)
        vector = std * noise
        return self.decoder(multiply(mean, exponential(vector))), divergence(vector, std)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Images of rotations (B, 3, 3), in loaded units."""
        images: torch.Tensor = self.decoder(latent)
        return images
