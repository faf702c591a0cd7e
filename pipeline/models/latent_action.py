"""The latent group action model: encode, split by the mask, act on one part, decode.

    z = E(x),  z_v = M z,  z_i = (1 - M) z,  output = D(g z_v + z_i)

(Swarnali et al., "Group action"; parts combine by sum because their supports are
disjoint.) Frames come in as stored and are normalised here, on the device.
"""

from typing import NamedTuple

import torch
from torch import nn

from data_prep.store.manifest import FrameSpec
from pipeline.groups import Group
from pipeline.models.actions import make_action
from pipeline.models.adaptive_mask import make_mask
from pipeline.models.checkpointing import checkpoint_activations
from pipeline.models.networks import (
    as_channels_last,
    latent_shape,
    make_decoder,
    make_encoder,
    with_depth,
)
from pipeline.models.output import OutputKind, as_images
from pipeline.models.projector import make_projector
from pipeline.models.settings import (
    LatentActionSettings,
    LearnedMaskConfig,
    MaskConfig,
    NetworkConfig,
    SpatialActionConfig,
)

SPATIAL = SpatialActionConfig()
LEARNED_MASK = LearnedMaskConfig()


class LatentParts(NamedTuple):
    """The part of a latent on which the group acts, and the part it leaves alone."""

    variant: torch.Tensor
    invariant: torch.Tensor


class LatentActionModel(nn.Module):
    """Encoder, mask, action and decoder for frames of one shape, under one group.

    `projector_sizes` (hidden, output) make a network on pooled latents that only a
    contrastive loss uses. Raises ValueError if the layers do not divide the frame or the
    group cannot act on its latent.
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
    ) -> None:
        super().__init__()
        moves_cells = isinstance(action, SpatialActionConfig) and config.vector_size is None
        config = with_depth(config, frames.shape, group.check_latent_shape if moves_cells else None)
        self.network, self.group, self.frames, self.output_kind = config, group, frames, output
        self.latent_shape = latent_shape(config, frames.shape)
        self.encoder = make_encoder(config, frames.shape)
        self.decoder = make_decoder(config, frames.shape)
        self.action = make_action(action, group, frames.shape, self.latent_shape)
        self.mask = make_mask(mask, self.action.block_sizes, tau)
        self.projector = make_projector(self.latent_shape[0], projector_sizes)
        if config.activation_checkpointing:
            checkpoint_activations(self)
        if config.memory_format == "channels_last":
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
        """Latent parts to the decoder's last values, before `pipeline.models.output`."""
        raw: torch.Tensor = self.decoder(parts.variant + parts.invariant)
        return raw

    def decode(self, parts: LatentParts) -> torch.Tensor:
        """Latent parts to images in [-1, 1]."""
        return as_images(self.decode_raw(parts), self.output_kind)

    def act(self, variant: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """The variant part of latents after group elements g acted, one each."""
        moved: torch.Tensor = self.action(variant, g)
        return moved

    def transform(self, images: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """Predict g x from normalised images x and group elements g, one each."""
        parts = self.encode(images)
        return self.decode(LatentParts(self.act(parts.variant, g), parts.invariant))
