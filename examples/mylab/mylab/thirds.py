"""A network: residual blocks on a latent of a third of the frame's side.

Frames of a hexagonal board have odd sides, which halving does not divide.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from orbit.api import Kind


@dataclass(frozen=True)
class ThirdsConfig:
    """`width` channels everywhere, and `num_blocks` residual blocks on each side."""

    name: Literal["thirds"] = "thirds"
    width: int = 24
    num_blocks: int = 2

    def __post_init__(self) -> None:
        for name in ("width", "num_blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")


class Block(nn.Module):
    """x + f(x), with two 3-wide convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.SiLU(), nn.Conv2d(width, width, 3, 1, 1), nn.SiLU(), nn.Conv2d(width, width, 3, 1, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        moved: torch.Tensor = self.layers(x)
        return x + moved


def make_thirds(
    config: ThirdsConfig, frame_shape: tuple[int, ...]
) -> tuple[nn.Module, nn.Module, tuple[int, ...]]:
    """Encoder, decoder and the latent's shape; ValueError for sides that 3 does not divide."""
    num_channels, *sides = frame_shape
    if len(sides) != 2 or any(side % 3 for side in sides):
        raise ValueError(f"model.name=thirds needs pictures whose sides 3 divides, not {sides}")
    width = config.width
    blocks = [[Block(width) for _ in range(config.num_blocks)] for _ in range(2)]
    encoder = nn.Sequential(nn.Conv2d(num_channels, width, 3, 3), *blocks[0])
    decoder = nn.Sequential(*blocks[1], nn.SiLU(), nn.ConvTranspose2d(width, num_channels, 3, 3))
    return encoder, decoder, (width, *(side // 3 for side in sides))


NETWORK = Kind("thirds", ThirdsConfig, make_thirds)
