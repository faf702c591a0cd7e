"""The group's action on what a model makes of frames, where it has one."""

from collections.abc import Callable

import torch


def acted(
    action: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    values: torch.Tensor,
    g: torch.Tensor,
) -> torch.Tensor | None:
    """Elements g (N, ...) applied to embeddings or latents (N, ...).

    None where the model refuses, which it does with a ValueError.
    """
    try:
        return action(values, g.to(values.device)).float()
    except ValueError:
        return None
