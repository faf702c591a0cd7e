"""Encoder to a distribution of rotations, decoder by functions on the rotations."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import softplus

from pipeline.global_batch import GlobalBatchNorm
from pipeline.groups import quaternions
from pipeline.groups.irreps_rotations import rotation_generators
from pipeline.groups.matrix_exponential import antisymmetric_exponential
from pipeline.world_models.homeomorphic_vae.lie_noise import bounded
from pipeline.world_models.teapot.rotations import gram_schmidt


class RotationPosterior(nn.Module):
    """4x4 convolutions of stride 2, then a head for the mean and one for the spread.

    Called with images it gives the mean rotation (B, 3, 3), its embedding; `distribution`
    gives the standard deviations (B, 3) in the Lie algebra too.
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
                # D_l = exp(v . X), as `pipeline.groups.irreps_rotations.space_matrix`.
                exponent = (vector[:, :, None, None] * generators).sum(1)
                rows = self.vectors[degree**2 : (degree + 1) ** 2]
                parts.append(antisymmetric_exponential(exponent) @ rows)
        return torch.cat(parts, 1)
