"""An autoencoder whose latent is moved by matrices that are learned from action vectors.

    z = E(x) = (z_1, ..., z_K, z_i),    rho(a) z = (exp(A_1(a)) z_1, ..., exp(A_K(a)) z_K, z_i)

Each A_k is a network from action vectors to matrices; nothing makes rho(a) orthogonal, or rho of a
product the product (Keurti et al., "Homomorphism Autoencoder", with blocks and exponentials).
"""

from typing import Any

import torch
from torch import nn

from orbit.core.groups import Group
from orbit.core.store.manifest import FrameSpec
from pipeline.methods.homomorphism.settings import HomomorphismConfig
from pipeline.models.checkpointing import checkpoint_activations
from pipeline.models.latent_action import FixedMask, LatentActionModel
from pipeline.models.networks import as_channels_last, make_network
from pipeline.models.settings import FixedMaskConfig


class PerBlock(nn.Module):
    """One linear layer for each of K blocks: (K, N, num_input) to (K, N, num_output), as
    `nn.Linear` would start each of them."""

    def __init__(self, num_blocks: int, num_input: int, num_output: int) -> None:
        super().__init__()
        layers = [nn.Linear(num_input, num_output) for _ in range(num_blocks)]
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(self.bias[:, None], x, self.weight.mT)


class PerBlockNorm(nn.Module):
    """One layer norm for each of K blocks, of (K, N, size)."""

    def __init__(self, num_blocks: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_blocks, 1, size))
        self.bias = nn.Parameter(torch.zeros(num_blocks, 1, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.layer_norm(x, x.shape[-1:]) * self.weight + self.bias


class HomomorphismAction(nn.Module):
    """Acts on latents (N, C, 1, ...) by rho(a), elements one each."""

    def __init__(self, group: Group, config: HomomorphismConfig, num_channels: int) -> None:
        super().__init__()
        self.group, self.block_size = group, config.block_size
        self.num_blocks, hidden = config.num_blocks, config.hidden
        num_moved = self.num_blocks * self.block_size
        self.num_still = num_channels - num_moved
        still = (self.num_still,) if self.num_still else ()
        self.block_sizes = (*(self.block_size,) * self.num_blocks, *still)
        layers: list[nn.Module] = []
        num_input = len(group.action_components)
        for _ in range(2):
            layers += [
                PerBlock(self.num_blocks, num_input, hidden),
                PerBlockNorm(self.num_blocks, hidden),
                nn.ReLU(),
            ]
            num_input = hidden
        self.hidden = nn.Sequential(*layers)
        self.last = PerBlock(self.num_blocks, hidden, config.block_size**2)

    def matrices(self, g: torch.Tensor) -> torch.Tensor:
        """exp(A_k) of elements, (N, K, block_size, block_size) float32."""
        vectors = self.group.encode(g).to(self.last.weight)
        found = self.last(self.hidden(vectors.expand(self.num_blocks, -1, -1)))  # (K, N, b^2)
        found = found.to(torch.promote_types(found.dtype, torch.float32)).transpose(0, 1)
        size = (self.block_size, self.block_size)
        return torch.matrix_exp(found.contiguous().unflatten(2, size))

    def forward(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        num_moved = self.num_blocks * self.block_size
        moved, still = latent.flatten(1).split([num_moved, self.num_still], 1)
        blocks = moved.unflatten(1, (self.num_blocks, self.block_size, 1))
        turned = (self.matrices(g).to(latent.dtype) @ blocks).flatten(1)
        return torch.cat([turned, still], 1).view_as(latent)


class HomomorphismModel(LatentActionModel):
    """See `pipeline.models.latent_action`: the mask is fixed, the latent one cell; outputs are
    probabilities. ValueError if the layers do not divide the frame."""

    # Of kinds of this method's own, as those of packages are.
    action: Any
    action_settings: Any

    def __init__(self, config: HomomorphismConfig, frames: FrameSpec, group: Group) -> None:
        nn.Module.__init__(self)  # the base class would make these parts from other settings
        self.group, self.frames, self.output_kind = group, frames, "logits"
        network = make_network(config.model, frames.shape)
        self.network, self.latent_shape = network.settings, network.latent_shape
        self.encoder, self.decoder = network.encoder, network.decoder
        self.action = HomomorphismAction(group, config, self.latent_shape[0])
        self.action_settings, self.projector, self.tau = config, None, 0.5
        share = config.num_blocks / len(self.action.block_sizes)
        self.mask_settings = FixedMaskConfig("fixed", share)
        self.mask = FixedMask(self.action.block_sizes, share)
        if getattr(config.model, "activation_checkpointing", False):
            checkpoint_activations(self)
        if getattr(config.model, "memory_format", "contiguous") == "channels_last":
            as_channels_last(self, len(frames.shape) - 1)
        self._scale, self._shift = frames.loading()
