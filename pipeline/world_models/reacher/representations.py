"""How turns and mirrors of the plane act on the reacher's maps and latents."""

import torch

from pipeline.groups import Group
from pipeline.world_models.fields.representations import act_on_fibre, act_on_field


def act_on_maps(group: Group, y: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Maps (B, c, s, s), or regular fields (B, c, 8, s, s), after elements g (B,)."""
    return act_on_field(group, y, g, 2) if y.ndim == 5 else group.act_on_latent(y, g)


def act_on_latents(group: Group, z: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Latents (B, c, 8), or (B, 8 c) read as such, after elements g (B,)."""
    if z.ndim == 2:
        return act_on_fibre(group, z.unflatten(1, (-1, 8)), g, 2).flatten(1)
    return act_on_fibre(group, z, g, 2)
