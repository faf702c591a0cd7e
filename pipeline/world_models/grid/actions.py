"""Moves of one object as network inputs."""

from collections.abc import Sequence

import torch

from pipeline.groups.interface import ActionComponent

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
