"""The homeomorphic VAE: a Gaussian in the Lie algebra about a mean rotation, pushed to SO(3).

    R = M exp(v),  v ~ N(0, diag(s^2))                                  (Falorsi et al.)
    q(R) = sum_k N(v_k; 0, s) |v_k|^2 / (2 - 2 cos |v|),  v_k = v (|v| + 2 pi k) / |v|

q is a density with regard to the Haar measure of total volume 8 pi^2, which near the identity is
that of v. All k from -NUM_WRAPS to NUM_WRAPS are summed; more terms change nothing for any s up to
pi. For much larger s the sum misses mass, the divergence becomes negative, and training would let s
grow without bound, so `MAX_STD` limits it. This loses nothing: q is closest to uniform at an s of
about 1.6.

Its latent is the mean rotation. It is not trained on actions; T(z, a) = a z is correct if the
latent is the object's own rotation.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import softplus

from orbit.core.groups import Group, quaternions
from orbit.core.groups.irreps import antisymmetric_exponential, rotation_generators
from orbit.core.plugins import Kind
from orbit.core.store.manifest import FrameSpec
from pipeline.global_batch import GlobalBatchNorm
from pipeline.world_models.settings import HomeomorphicVAEConfig
from pipeline.world_models.teapot import (
    ProductTransition,
    act_by_multiplying,
    gram_schmidt,
    multiply,
)
from pipeline.world_models.world_model import WorldModel

NUM_WRAPS = 3
MAX_STD = math.pi
LOG_VOLUME = math.log(8 * math.pi**2)
MIN_ANGLE = 1e-3


def bounded(std: torch.Tensor) -> torch.Tensor:
    """Positive standard deviations, limited to MAX_STD; small ones hardly change."""
    return MAX_STD * (std / MAX_STD).tanh()


def exponential(vector: torch.Tensor) -> torch.Tensor:
    """Rotation matrices (B, 3, 3) of rotation vectors (B, 3): axis times angle."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    return antisymmetric_exponential(torch.stack([torch.stack(row, -1) for row in rows], -2))


def log_density(vector: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """log q of M exp(v) for v (B, 3) and standard deviations (B, 3); the same for any M."""
    angle = vector.norm(dim=-1).clamp_min(MIN_ANGLE)
    wraps = 2 * math.pi * torch.arange(-NUM_WRAPS, NUM_WRAPS + 1, device=vector.device)
    angles = angle[:, None] + wraps
    wrapped = vector[:, None] * (angles / angle[:, None])[..., None]
    gaussian = -0.5 * (wrapped / std[:, None]).square().sum(-1)
    gaussian = gaussian - std.log().sum(-1, keepdim=True) - 1.5 * math.log(2 * math.pi)
    # 2 - 2 cos a = 4 sin^2(a / 2), which keeps its digits for small angles.
    volume = 2 * angles.abs().log() - 2 * (2 * (angle / 2).sin().abs()).log()[:, None]
    density: torch.Tensor = (gaussian + volume).logsumexp(1)
    return density


def divergence(vector: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """KL divergence of q from the uniform distribution, estimated at v, (B,)."""
    return log_density(vector, std) + LOG_VOLUME


class RotationPosterior(nn.Module):
    """4x4 convolutions of stride 2, then a head for the mean and one for the spread.

    Called with images it returns the mean rotation (B, 3, 3), the embedding; `distribution` also
    returns the standard deviations (B, 3) in the Lie algebra.
    """

    def __init__(self, frame_shape: tuple[int, ...], channels: Sequence[int]) -> None:
        super().__init__()
        sizes = [frame_shape[0], *channels]
        layers: list[nn.Module] = []
        for num_in, num_out in pairwise(sizes):
            layers += [nn.Conv2d(num_in, num_out, 4, stride=2, padding=1)]
            layers += [GlobalBatchNorm(num_out), nn.LeakyReLU(0.2)]
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        num_cells = math.prod(side // 2 ** len(channels) for side in frame_shape[1:])
        if num_cells == 0:
            raise ValueError(
                f"task.model.channels halves frames of {frame_shape[1:]} {len(channels)} times:"
                " nothing is left"
            )
        self.mean = nn.Linear(channels[-1] * num_cells, 6)
        self.spread = nn.Linear(channels[-1] * num_cells, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return gram_schmidt(self.mean(self.convolutions(images)))

    def distribution(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean rotations (B, 3, 3) and standard deviations (B, 3) below pi, float32."""
        features = self.convolutions(images)
        std = bounded(softplus(self.spread(features).float()))
        return gram_schmidt(self.mean(features)), std


class HarmonicDecoder(nn.Module):
    """Rotations to images: learned vectors turned by Wigner matrices, transposed convolutions.

    A rotation R turns `num_copies` learned vectors of every degree l up to `max_degree`, by
    D_l(R); the 4x4 cells after the first layer double until the frame's side is reached.
    """

    def __init__(
        self, frame_shape: tuple[int, ...], max_degree: int, num_copies: int, channels: int
    ) -> None:
        super().__init__()
        num_frame_channels, side = frame_shape[0], frame_shape[1]
        num_doublings = round(math.log2(side / 4))
        if frame_shape[1:] != (side, side) or side != 4 * 2**num_doublings:
            raise ValueError(
                f"task.model.name=homeomorphic_vae needs square frames with a power of two from 8"
                f" pixels a side, not {frame_shape[1:]}"
            )
        self.max_degree = max_degree
        num_rows = (max_degree + 1) ** 2
        self.vectors = nn.Parameter(torch.randn(num_rows, num_copies))
        for degree in range(1, max_degree + 1):
            generators = rotation_generators(degree).float()
            self.register_buffer(f"generators_{degree}", generators, persistent=False)
        layers: list[nn.Module] = [nn.ConvTranspose2d(num_rows * num_copies, channels, 4)]
        for index in range(num_doublings):
            num_out = num_frame_channels if index == num_doublings - 1 else channels
            layers += [nn.ReLU(), nn.ConvTranspose2d(channels, num_out, 4, stride=2, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, rotations: torch.Tensor) -> torch.Tensor:
        """Images (B, C, s, s) in loaded units of rotation matrices (B, 3, 3)."""
        turned = self.turned(rotations)
        images: torch.Tensor = self.layers(turned.flatten(1)[..., None, None])
        return images

    def turned(self, rotations: torch.Tensor) -> torch.Tensor:
        """The learned vectors after the rotations, (B, (max_degree + 1)^2, num_copies)."""
        vector = quaternions.rotation_vector(quaternions.from_matrix(rotations.float()))
        parts = [self.vectors[:1].expand(len(vector), -1, -1)]
        with torch.autocast(vector.device.type, enabled=False):
            for degree in range(1, self.max_degree + 1):
                generators = getattr(self, f"generators_{degree}")
                # D_l = exp(v . X), as `orbit.core.groups.irreps.space_matrix`.
                exponent = (vector[:, :, None, None] * generators).sum(1)
                rows = self.vectors[degree**2 : (degree + 1) ** 2]
                parts.append(antisymmetric_exponential(exponent) @ rows)
        return torch.cat(parts, 1)


class HomeomorphicVAE(WorldModel):
    """A world model that can also decode its latents; ValueError for frames that it cannot
    decode."""

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


MODEL = Kind(
    "homeomorphic_vae",
    HomeomorphicVAEConfig,
    lambda config, group, manifest: HomeomorphicVAE(config, group, manifest.frames),
)
