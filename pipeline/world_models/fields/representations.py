"""How groups act on fibres and on fields, one group element a row."""

import torch

from pipeline.groups import Group
from pipeline.world_models.fields.tables import fibre_places


def act_on_fibre(group: Group, x: torch.Tensor, g: torch.Tensor, axis: int) -> torch.Tensor:
    """Values (B, ...) of which `axis` is a fibre, after elements g (B,)."""
    places = fibre_places(group.name).to(x.device)[group.element_index(g)]
    axis %= x.ndim
    shape = [1] * x.ndim
    shape[0], shape[axis] = places.shape
    return x.gather(axis, places.view(shape).expand_as(x))


def act_on_field(group: Group, x: torch.Tensor, g: torch.Tensor, axis: int) -> torch.Tensor:
    """Regular fields (B, ..., s, s) of which `axis` is the fibre, after elements g (B,)."""
    moved = group.act_on_latent(x.flatten(1, -3), g).view(x.shape)
    return act_on_fibre(group, moved, g, axis)
