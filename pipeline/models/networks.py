"""Encoders and decoders: the paper's, with context channels, with residual blocks; orbit averages.

Stride-2 4-wide convolutions with LeakyReLU(0.2), no normalisation (script
`rotated_mnist.py`; 2D). Volumes use the same plan with 3D layers. The Tanh that ends
the paper's decoder is `pipeline.models.latent_action`'s.

Levels are joined by the paper's 4-wide stride-2 convolutions, which sample a lattice of even sides
symmetrically: a quarter turn of the image is a quarter turn of the latent.

A cell of the paper's latent sees 10 x 10 pixels, so an average over cells only reflects small parts
of a frame. The second branch of the context network reads the neighbourhoods of cells before the
average is taken.

Means over the orbit of an image are symmetric whatever a network's weights:

    z(x) = mean over all g of  g^-1 E(g x)     then  z(h x) = h z(x)
    f(x) = mean over all g of  F(g x)          then  f(h x) = f(x)

for every element h of a finite group that acts on whole frames, because g h runs through the group
as g does (the Reynolds operator). Values agree up to the rounding of a sum in another order.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from orbit.core import plugins
from orbit.core.groups import Group
from pipeline.models.settings import (
    AutoencoderConfig,
    ContextConfig,
    NetworkConfig,
    ResidualConfig,
    num_halvings,
)


class ConvEncoder(nn.Sequential):
    """(N, C, H, W) to (N, width * 2^(depth-1), H / 2^depth, W / 2^depth); volumes likewise."""

    def __init__(
        self, config: AutoencoderConfig | ContextConfig, num_input: int, num_spatial: int
    ) -> None:
        conv = nn.Conv2d if num_spatial == 2 else nn.Conv3d
        layers: list[nn.Module] = []
        num_channels = num_input
        for level in range(num_halvings(config)):
            num_output = config.width * 2**level
            layers += [conv(num_channels, num_output, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
            num_channels = num_output
        super().__init__(*layers)


class ConvDecoder(nn.Sequential):
    """The encoder's mirror image, from a latent of `num_latent` channels."""

    def __init__(
        self,
        config: AutoencoderConfig | ContextConfig,
        num_latent: int,
        num_output: int,
        num_spatial: int,
    ) -> None:
        conv = nn.ConvTranspose2d if num_spatial == 2 else nn.ConvTranspose3d
        layers: list[nn.Module] = []
        num_channels = num_latent
        for level in range(num_halvings(config) - 2, -1, -1):
            num_next = config.width * 2**level
            layers += [conv(num_channels, num_next, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
            num_channels = num_next
        super().__init__(*layers, conv(num_channels, num_output, 4, 2, 1))


NORM_GROUPS = 8


class ResidualBlock(nn.Module):
    """x + f(x) with two normalised 3-wide convolutions; the second is initialised to 0."""

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


class ContextEncoder(nn.Module):
    """(N, C, H, W) to (N, width * 2^(depth-1) + context_channels, H / 2^depth, W / 2^depth)."""

    def __init__(self, config: ContextConfig, num_input: int, num_spatial: int) -> None:
        super().__init__()
        conv = nn.Conv2d if num_spatial == 2 else nn.Conv3d
        num_near = config.width * 2 ** (num_halvings(config) - 1)
        num_context = config.context_channels
        self.near = ConvEncoder(config, num_input, num_spatial)
        self.context = nn.Sequential(
            conv(num_near, num_context, 1),
            *(ResidualBlock(num_context, num_spatial) for _ in range(config.num_blocks)),
            nn.SiLU(),
            conv(num_context, num_context, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        near = self.near(x)
        return torch.cat([near, self.context(near)], 1)


class EncoderDecoder(NamedTuple):
    """A network for frames of one shape: frames (N, C, ...) to latents (N, *latent_shape) and back,
    and its settings, without `auto`."""

    encoder: nn.Module
    decoder: nn.Module
    latent_shape: tuple[int, ...]
    settings: NetworkConfig


def make_network(
    config: NetworkConfig,
    frame_shape: tuple[int, ...],
    check_latent: Callable[[tuple[int, ...]], None] | None = None,
) -> EncoderDecoder:
    """The network of these settings; `check_latent` as in `with_depth`.

    ValueError if the layers do not divide the frame.
    """
    if config.name in NETWORKS:
        config = with_depth(config, frame_shape, check_latent)
    kind = plugins.kind_of("networks", NETWORKS, config)
    encoder, decoder, shape = kind.make(config, frame_shape)
    return EncoderDecoder(encoder, decoder, tuple(shape), config)


SMALLEST_LATENT = 12
"""The fewest cells a side that `depth=auto` leaves."""


def with_depth(
    config: NetworkConfig,
    frame_shape: tuple[int, ...],
    check_latent: Callable[[tuple[int, ...]], None] | None = None,
) -> NetworkConfig:
    """The configuration with a number instead of `depth=auto`.

    As many halvings as divide the frame, leave 12 cells a side and a lattice of cells for which
    `check_latent` raises no ValueError; 1 if none do.
    """
    if config.depth != "auto":
        return config
    fitting, sides = 1, frame_shape[1:]
    for depth in range(1, min(sides).bit_length()):
        sides = tuple(side // 2 for side in sides)
        if min(sides) < SMALLEST_LATENT or any(side % 2**depth for side in frame_shape[1:]):
            break
        if check_latent is None or _is_allowed(check_latent, sides):
            fitting = depth
    return dataclasses.replace(config, depth=fitting)


def _is_allowed(check_latent: Callable[[tuple[int, ...]], None], sides: tuple[int, ...]) -> bool:
    try:
        check_latent(sides)
    except ValueError:
        return False
    return True


Made = tuple[nn.Module, nn.Module, tuple[int, ...]]
"""Encoder, frames (N, C, ...) to latents; decoder, back, before the output's own function (see
`pipeline.models.latent_action`); and the shape (C, h, w) or (C, d, h, w) of a latent."""


def _make_conv(config: AutoencoderConfig, frame_shape: tuple[int, ...]) -> Made:
    num_input, num_spatial = frame_shape[0], len(frame_shape) - 1
    num_latent = config.width * 2 ** (num_halvings(config) - 1)
    return _joined(
        config,
        (num_latent, *cells_of(config, frame_shape)),
        lambda: ConvEncoder(config, num_input, num_spatial),
        lambda: ConvDecoder(config, num_latent, num_input, num_spatial),
    )


def _make_residual(config: ResidualConfig, frame_shape: tuple[int, ...]) -> Made:
    num_input, num_spatial = frame_shape[0], len(frame_shape) - 1
    return _joined(
        config,
        (config.latent_channels, *cells_of(config, frame_shape)),
        lambda: ResidualEncoder(config, num_input, num_spatial),
        lambda: ResidualDecoder(config, num_input, num_spatial),
    )


def _make_context(config: ContextConfig, frame_shape: tuple[int, ...]) -> Made:
    num_input, num_spatial = frame_shape[0], len(frame_shape) - 1
    num_latent = config.width * 2 ** (num_halvings(config) - 1) + config.context_channels
    return _joined(
        config,
        (num_latent, *cells_of(config, frame_shape)),
        lambda: ContextEncoder(config, num_input, num_spatial),
        lambda: ConvDecoder(config, num_latent, num_input, num_spatial),
    )


NETWORKS = plugins.by_name(
    plugins.Kind("conv", AutoencoderConfig, _make_conv),
    plugins.Kind("residual", ResidualConfig, _make_residual),
    plugins.Kind("context", ContextConfig, _make_context),
)
"""`make` takes config, in which nothing is `auto`, and the shape of a frame."""


def cells_of(config: NetworkConfig, frame_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Cells (h, w) or (d, h, w) of what the convolutions make of a frame.

    Raises ValueError naming the nearest sizes if the layers do not divide the frame.
    """
    depth = num_halvings(config)
    factor = 2**depth
    for size in frame_shape[1:]:
        if size % factor:
            raise ValueError(
                f"model.depth={depth} needs sides divisible by {factor}, not {size};"
                f" nearest: {max(factor, size // factor * factor)}"
            )
    return tuple(size // factor for size in frame_shape[1:])


def _joined(
    config: NetworkConfig,
    spatial: tuple[int, ...],
    make_encoder: Callable[[], nn.Module],
    make_decoder: Callable[[], nn.Module],
) -> Made:
    """Both, with linear layers between them where the latent is a vector, (C, 1, 1).

    Weights are drawn in the order of the layers of the encoder, then those of the decoder's
    convolutions before its linear layer.
    """
    size = config.vector_size
    if size is None:
        return make_encoder(), make_decoder(), spatial
    shape = (size, *(1 for _ in spatial[1:]))
    flat = math.prod(spatial)
    encoder = nn.Sequential(
        make_encoder(), nn.Flatten(), nn.Linear(flat, size), nn.Unflatten(1, shape)
    )
    decoder = make_decoder()
    layers = (nn.Flatten(), nn.Linear(size, flat), nn.LeakyReLU(0.2), nn.Unflatten(1, spatial))
    return encoder, nn.Sequential(*layers, decoder), shape


def as_channels_last(module: nn.Module, num_spatial: int) -> nn.Module:
    """Store the convolutions' weights channels-last; activations then have the same format."""
    memory_format = torch.channels_last if num_spatial == 2 else torch.channels_last_3d
    return module.to(memory_format=memory_format)


def orbit_mean(
    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    elements: torch.Tensor,
    group: Group,
) -> torch.Tensor:
    """The mean over elements of `function(g x, g)`, for images x (N, C, ...) and g N times."""
    total = torch.zeros(())
    for number in range(len(elements)):
        g = elements[number : number + 1].expand(len(images), *elements.shape[1:])
        value = function(group.act_on_image(images, g), g)
        total = total + value if number else value
    return total / len(elements)


class OrbitAverage(nn.Module):
    """An encoder's latents, averaged over the orbit so that they turn with the image.

    Raises ValueError for a continuous group, whose orbits have no end.
    """

    elements: torch.Tensor

    def __init__(self, encoder: nn.Module, group: Group) -> None:
        super().__init__()
        if group.num_elements is None:
            raise ValueError(
                f"task.orbit_average=true needs a finite group, and {group.name} is continuous"
            )
        self.encoder, self.group = encoder, group
        self.register_buffer("elements", group.elements(), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return orbit_mean(self._turned_back, images, self.elements, self.group)

    def _turned_back(self, moved: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        latent: torch.Tensor = self.encoder(moved)
        return self.group.act_on_latent(latent, self.group.inverse(g))
