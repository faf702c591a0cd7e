"""A stronger encoder and decoder: residual blocks, group norm, SiLU; images and volumes.

Levels are joined by the paper's 4-wide stride-2 convolutions, which lie symmetrically
on a lattice of even sides: a quarter turn of the image is one of the latent.
"""

import torch
from torch import nn

from pipeline.models.settings import ResidualConfig, num_halvings

NORM_GROUPS = 8


class ResidualBlock(nn.Module):
    """x + f(x) with two normalised 3-wide convolutions; the second begins at 0."""

    def __init__(self, num_channels: int, num_spatial: int) -> None:
        super().__init__()
        conv = nn.Conv2d if num_spatial == 2 else nn.Conv3d
        last = conv(num_channels, num_channels, 3, 1, 1)
        nn.init.zeros_(last.weight)
        self.layers = nn.Sequential(
            nn.GroupNorm(NORM_GROUPS, num_channels),
            nn.SiLU(),
            conv(num_channels, num_channels, 3, 1, 1),
            nn.GroupNorm(NORM_GROUPS, num_channels),
            nn.SiLU(),
            last,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        moved: torch.Tensor = self.layers(x)
        return x + moved


class ResidualEncoder(nn.Sequential):
    """(N, C, H, W) to (N, latent_channels, H / 2^depth, W / 2^depth); volumes likewise."""

    def __init__(self, config: ResidualConfig, num_input: int, num_spatial: int) -> None:
        conv = nn.Conv2d if num_spatial == 2 else nn.Conv3d
        widths = level_widths(config)
        layers: list[nn.Module] = [conv(num_input, widths[0], 3, 1, 1)]
        for level in range(num_halvings(config)):
            layers.append(conv(widths[level], widths[level + 1], 4, 2, 1))
            layers += _blocks(config, widths[level + 1], num_spatial)
        layers += [nn.GroupNorm(NORM_GROUPS, widths[-1]), nn.SiLU()]
        super().__init__(*layers, conv(widths[-1], config.latent_channels, 1))


class ResidualDecoder(nn.Sequential):
    """The encoder's mirror image."""

    def __init__(self, config: ResidualConfig, num_output: int, num_spatial: int) -> None:
        conv = nn.Conv2d if num_spatial == 2 else nn.Conv3d
        up = nn.ConvTranspose2d if num_spatial == 2 else nn.ConvTranspose3d
        widths = level_widths(config)
        layers: list[nn.Module] = [conv(config.latent_channels, widths[-1], 1)]
        for level in range(num_halvings(config), 0, -1):
            layers += _blocks(config, widths[level], num_spatial)
            layers.append(up(widths[level], widths[level - 1], 4, 2, 1))
        layers += [nn.GroupNorm(NORM_GROUPS, widths[0]), nn.SiLU()]
        super().__init__(*layers, conv(widths[0], num_output, 3, 1, 1))


def level_widths(config: ResidualConfig) -> tuple[int, ...]:
    """Channels at full size and after each of the `depth` halvings."""
    first, levels = config.width, range(num_halvings(config))
    return (first, *(min(first * 2**level, config.max_width) for level in levels))


def _blocks(config: ResidualConfig, num_channels: int, num_spatial: int) -> list[nn.Module]:
    return [ResidualBlock(num_channels, num_spatial) for _ in range(config.num_blocks)]
