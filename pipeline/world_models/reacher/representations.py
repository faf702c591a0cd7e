"""How turns and mirrors of the plane act on the reacher's maps and latents."""

import torch

from pipeline.equivariant import FieldType, act_on_fibre, act_on_fields
from pipeline.groups import Group


def act_on_maps(group: Group, is_regular: bool, y: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Maps (B, c, s, s), or regular fields (B, 8 c, s, s), after elements g (B,)."""
    if not is_regular:
        return group.act_on_latent(y, g)
    return act_on_fields(y, g, FieldType(group.name, "regular", y.shape[1] // 8))


def act_on_latents(group: Group, z: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Latents (B, c, 8), or (B, 8 c) read as such, after elements g (B,)."""
    if z.ndim == 2:
        return act_on_fibre(z.unflatten(1, (-1, 8)), g, group.name, dim=2).flatten(1)
    return act_on_fibre(z, g, group.name, dim=2)
