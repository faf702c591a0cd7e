"""An encoder-decoder whose latent channels are split by a mask (paper 1, section on the model).

The mask is learnable: adaptive latent disentanglement says which channels the group acts on.

One logit per channel, M = 1[sigmoid(logit) > tau], straight-through: the value
is exactly 0 or 1, the gradient that of the sigmoid (paper, "Adaptive Latent
Disentanglement"; script `rotated_mnist.py`). 1 means variant. Channels that the
group's action mixes share one logit: they are variant together or not at all.

    z = E(x),  z_v = M z,  z_i = (1 - M) z,  output = D(g z_v + z_i)

(Swarnali et al., "Group action"; the parts are added because their supports are disjoint.) Inputs
are frames as stored; they are normalised here, on the device.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from orbit.core.groups import Group
from orbit.core.store.manifest import FrameSpec
from pipeline.models.actions import make_action
from pipeline.models.checkpointing import checkpoint_activations
from pipeline.models.networks import OrbitAverage, as_channels_last, make_network
from pipeline.models.settings import (
    FixedMaskConfig,
    LatentActionSettings,
    LearnedMaskConfig,
    MaskConfig,
    NetworkConfig,
    SpatialActionConfig,
)

INITIAL_SPREAD = 0.1


class AdaptiveMask(nn.Module):
    """A learnable binary mask over consecutive blocks of channels, threshold `tau` in (0, 1)."""

    block_of_channel: torch.Tensor | None

    def __init__(self, block_sizes: Sequence[int], tau: float) -> None:
        super().__init__()
        self.tau = tau
        self.logits = nn.Parameter(INITIAL_SPREAD * torch.randn(len(block_sizes)))
        blocks = torch.arange(len(block_sizes)).repeat_interleave(torch.tensor(block_sizes))
        is_single = max(block_sizes) == 1
        self.register_buffer("block_of_channel", None if is_single else blocks, persistent=False)

    def forward(self) -> torch.Tensor:
        """The mask, (C,) float, with straight-through gradients."""
        soft = self.logits.sigmoid()
        hard = (soft > self.tau).to(soft.dtype)
        return self._by_channel(hard + (soft - soft.detach()))

    @torch.no_grad()
    def is_variant(self) -> torch.Tensor:
        """Whether each channel is variant, (C,) bool."""
        return self._by_channel(self.logits.sigmoid() > self.tau)

    def _by_channel(self, values: torch.Tensor) -> torch.Tensor:
        return values if self.block_of_channel is None else values[self.block_of_channel]


class FixedMask(nn.Module):
    """The first blocks of channels are always variant: a control.

    Their number is the one closest to `variant_fraction` of all blocks.
    """

    mask: torch.Tensor

    def __init__(self, block_sizes: Sequence[int], variant_fraction: float) -> None:
        super().__init__()
        num_variant = round(len(block_sizes) * variant_fraction)
        blocks = torch.arange(len(block_sizes)) < num_variant
        mask = blocks.repeat_interleave(torch.tensor(block_sizes))
        self.register_buffer("mask", mask.float(), persistent=False)

    def forward(self) -> torch.Tensor:
        """The mask, (C,) float."""
        return self.mask

    def is_variant(self) -> torch.Tensor:
        """Whether each channel is variant, (C,) bool."""
        return self.mask > 0


def make_mask(
    config: MaskConfig, block_sizes: Sequence[int], tau: float
) -> AdaptiveMask | FixedMask:
    """The configured mask over consecutive blocks of channels."""
    if isinstance(config, FixedMaskConfig):
        return FixedMask(block_sizes, config.variant_fraction)
    return AdaptiveMask(block_sizes, tau)


OutputKind = Literal["tanh", "logits"]


def as_images(raw: torch.Tensor, kind: OutputKind) -> torch.Tensor:
    """Decoder values to images in [-1, 1]; for logits, 2 p - 1."""
    return raw.tanh() if kind == "tanh" else (raw / 2).tanh()


def reconstruction_losses(
    raw: torch.Tensor, images: torch.Tensor, target: torch.Tensor, kind: OutputKind
) -> torch.Tensor:
    """Squared error (as in the paper) or binary cross-entropy of every value, for targets in [-1,
    1].

    `images` are `as_images(raw, kind)`.
    """
    if kind == "tanh":
        return (images - target).square()
    return binary_cross_entropy_with_logits(raw, (target + 1) / 2, reduction="none")


def make_projector(num_channels: int, sizes: tuple[int, int] | None) -> nn.Sequential | None:
    """A network with one hidden layer from (N, num_channels) to (N, output); None without
    `sizes`."""
    if sizes is None:
        return None
    hidden, output = sizes
    return nn.Sequential(nn.Linear(num_channels, hidden), nn.ReLU(), nn.Linear(hidden, output))


SPATIAL = SpatialActionConfig()
LEARNED_MASK = LearnedMaskConfig()


class LatentParts(NamedTuple):
    """The part of a latent on which the group acts, and the part it leaves alone."""

    variant: torch.Tensor
    invariant: torch.Tensor


class LatentActionModel(nn.Module):
    """Encoder, mask, action and decoder for frames of one shape, under one group.

    `projector_sizes` (hidden, output) add a network on pooled latents that only a contrastive loss
    uses. `orbit_average` makes the encoder's latents turn with the image, whatever the weights.
    Raises ValueError if the layers do not divide the frame or the group cannot act on its latent.
    """

    def __init__(
        self,
        config: NetworkConfig,
        tau: float,
        frames: FrameSpec,
        group: Group,
        action: LatentActionSettings = SPATIAL,
        output: OutputKind = "tanh",
        mask: MaskConfig = LEARNED_MASK,
        projector_sizes: tuple[int, int] | None = None,
        orbit_average: bool = False,
    ) -> None:
        super().__init__()
        # The settings of a plug-in's network need not have all keys of ours.
        is_vector = getattr(config, "vector_size", None) is not None
        moves_cells = isinstance(action, SpatialActionConfig) and not is_vector
        network = make_network(
            config, frames.shape, group.check_latent_shape if moves_cells else None
        )
        self.group, self.frames, self.output_kind = group, frames, output
        self.network, self.latent_shape = network.settings, network.latent_shape
        self.encoder, self.decoder = network.encoder, network.decoder
        self.action = make_action(action, group, frames.shape, self.latent_shape)
        self.action_settings, self.mask_settings, self.tau = action, mask, tau
        self.mask = make_mask(mask, self.action.block_sizes, tau)
        self.projector = make_projector(self.latent_shape[0], projector_sizes)
        if orbit_average:
            self.encoder = OrbitAverage(self.encoder, group)
        if getattr(config, "activation_checkpointing", False):
            checkpoint_activations(self)
        if getattr(config, "memory_format", "contiguous") == "channels_last":
            as_channels_last(self, len(frames.shape) - 1)
        self._scale, self._shift = frames.loading()

    def normalise(self, frames: torch.Tensor) -> torch.Tensor:
        """Stored values to the loaded range, float32."""
        return frames.to(torch.float32) * self._scale + self._shift

    def to_unit_range(self, images: torch.Tensor) -> torch.Tensor:
        """Values of the loaded range, or model outputs, to [0, 1]."""
        low, high = self.frames.loaded_range
        return (images - low) / (high - low)

    def encode(self, images: torch.Tensor) -> LatentParts:
        """Normalised images to the two parts of their latents, each (N, C, h, w)."""
        latent = self.encoder(images)
        mask = self.mask().to(latent.dtype).view(-1, *(1,) * (latent.ndim - 2))
        return LatentParts(mask * latent, (1 - mask) * latent)

    def decode_raw(self, parts: LatentParts) -> torch.Tensor:
        """Latent parts to the decoder's last values, before `as_images`."""
        raw: torch.Tensor = self.decoder(parts.variant + parts.invariant)
        return raw

    def decode(self, parts: LatentParts) -> torch.Tensor:
        """Latent parts to images in [-1, 1]."""
        return as_images(self.decode_raw(parts), self.output_kind)

    def act(self, variant: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """The variant part of latents after group elements g have acted, one each."""
        moved: torch.Tensor = self.action(variant, g)
        return moved

    def transform(self, images: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """Predict g x from normalised images x and group elements g, one each."""
        parts = self.encode(images)
        return self.decode(LatentParts(self.act(parts.variant, g), parts.invariant))
