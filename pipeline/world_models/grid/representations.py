"""How quarter turns act on maps and latents of objects on a grid.

The four places of a fibre stand for directions: up, right, down, left. A counter-clockwise
turn by k quarters takes direction d to d - k, so that place d of the turned fibre holds what
was at d + k. Maps turn with the picture.
"""

import torch

from pipeline.equivariant import act_on_fibre
from pipeline.groups import Group


def act_on_maps(group: Group, y: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Maps (B, n, s, s), or (B, n, 4, s, s) with one a heading, after g (B,) quarter turns."""
    moved = group.act_on_latent(y, g)
    return act_on_fibre(moved, g, group.name, dim=2) if y.ndim == 5 else moved


def act_on_latents(group: Group, z: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Latents (B, n, 4, c), or (B, n, 4 c) read as such, after g (B,) quarter turns."""
    if z.ndim == 3:
        return act_on_fibre(z.unflatten(2, (4, -1)), g, group.name, dim=2).flatten(2)
    return act_on_fibre(z, g, group.name, dim=2)
