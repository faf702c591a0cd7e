"""How quarter turns act on maps, latents and actions of objects on a grid.

The four places of a fibre stand for directions: up, right, down, left. A counter-clockwise
turn by k quarters takes direction d to d - k, so that place d of the turned fibre holds what
was at d + k. Maps turn with the picture.
"""

from collections.abc import Sequence

import torch

from orbit.core.actions import ActionComponent
from orbit.core.groups import Group
from pipeline.equivariant import act_on_fibre


def act_on_maps(group: Group, y: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Maps (B, n, s, s), or (B, n, 4, s, s) with one a heading, after g (B,) quarter turns."""
    moved = group.act_on_latent(y, g)
    return act_on_fibre(moved, g, group.name, dim=2) if y.ndim == 5 else moved


def act_on_latents(group: Group, z: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Latents (B, n, 4, c), or (B, n, 4 c) read as such, after g (B,) quarter turns."""
    if z.ndim == 3:
        return act_on_fibre(z.unflatten(2, (4, -1)), g, group.name, dim=2).flatten(2)
    return act_on_fibre(z, g, group.name, dim=2)


NUM_DIRECTIONS = 4


def num_objects(components: Sequence[ActionComponent]) -> int:
    """Objects that the actions of a dataset can move; ValueError for other actions."""
    names = [component.name for component in components]
    if names != ["object", "direction"]:
        raise ValueError(
            f"task.model.name=grid needs actions of object and direction, not {', '.join(names)}"
        )
    return round(components[0].maximum) + 1


def one_hot(action: torch.Tensor, objects: int) -> torch.Tensor:
    """Rows [object, direction] (B, 2) to (B, objects, 4): 1 for the moved object's direction."""
    index = action[:, 0] * NUM_DIRECTIONS + action[:, 1]
    places = torch.arange(objects * NUM_DIRECTIONS, device=action.device)
    hot = (index.round()[:, None] == places).to(torch.float32)
    return hot.view(-1, objects, NUM_DIRECTIONS)
