"""`ours` with a learned mask over S's maps: what turns with the board is found and not given.

The maps of an object (B, n, C, s, s) that the mask selects go through the C4-convolutions of
E, and their latent is moved by T. The others go through a free network, and no action changes
what comes of them. A latent is (B, n, 4 c + k): c copies of the regular representation, place
by place, then k numbers that the group leaves alone.
"""

from dataclasses import dataclass

import torch
from torch import nn

from pipeline.equivariant import act_on_fibre
from pipeline.groups import Group
from pipeline.models.adaptive_mask import AdaptiveMask
from pipeline.world_models.grid.symmetric import SymmetricGridTransition, SymmetricObjectEncoder
from pipeline.world_models.layers import mlp
from pipeline.world_models.settings import GridMaskConfig


@dataclass(frozen=True)
class Parts:
    """The mask of a model, and how many numbers of each object's latent are variant."""

    mask: AdaptiveMask
    num_variant: int

    def split(self, latent: torch.Tensor) -> dict[str, torch.Tensor]:
        """`variant` and `invariant` of latents (N, n, 4 c + k)."""
        variant, invariant = latent[..., : self.num_variant], latent[..., self.num_variant :]
        return {"variant": variant, "invariant": invariant}


class MaskedObjectEncoder(nn.Module):
    """E: an object's variant maps by C4-convolutions, the others by an MLP."""

    def __init__(
        self, side: int, num_objects: int, config: GridMaskConfig, hidden: int, copies: int
    ) -> None:
        super().__init__()
        self._num_maps = config.num_maps
        self.mask = AdaptiveMask([1] * (num_objects * config.num_maps), config.tau)
        # Several maps of an object are to the convolutions what one of more orbits is.
        self.variant = SymmetricObjectEncoder(side, False, hidden, copies, num_maps=config.num_maps)
        num_values = config.num_maps * side * side
        self.invariant = mlp((num_values, hidden, hidden, config.invariant_size))

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        mask = self.mask().view(-1, self._num_maps, 1, 1)
        variant = self.variant(embedding * mask)
        invariant = self.invariant((embedding * (1 - mask)).flatten(2))
        return torch.cat((variant.flatten(2), invariant), -1)


class MaskedGridTransition(nn.Module):
    """T: the graph network on what is variant; the rest stays."""

    def __init__(self, num_objects: int, copies: int, hidden: int) -> None:
        super().__init__()
        self._num_variant = 4 * copies
        self.variant = SymmetricGridTransition(num_objects, False, copies, hidden)

    def forward(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        variant = latent[..., : self._num_variant].unflatten(2, (4, -1))
        following = self.variant(variant, action).flatten(2)
        return torch.cat((following, latent[..., self._num_variant :].to(following.dtype)), -1)


def act_on_masked_maps(
    group: Group, mask: AdaptiveMask, y: torch.Tensor, g: torch.Tensor
) -> torch.Tensor:
    """Maps (B, n, C, s, s) after g (B,) quarter turns: variant ones turn with the picture."""
    is_variant = mask.is_variant().view(y.shape[1], y.shape[2], 1, 1)
    return torch.where(is_variant, group.act_on_latent(y, g), y)


def act_on_masked_latents(
    group: Group, num_variant: int, z: torch.Tensor, g: torch.Tensor
) -> torch.Tensor:
    """Latents (B, n, 4 c + k) after g (B,) quarter turns: the last k numbers stay."""
    fibres = z[..., :num_variant].unflatten(2, (4, -1))
    turned = act_on_fibre(fibres, g, group.name, dim=2).flatten(2)
    return torch.cat((turned, z[..., num_variant:]), -1)
