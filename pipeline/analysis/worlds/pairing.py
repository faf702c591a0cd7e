"""Which two states a distance is between: those of episodes 2m and 2m + 1, each in its turn.

Where elements are drawn for episodes, these two share theirs (`data_prep.recipes.rollouts`).
"""

import torch


def partners(elements: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Places of s and of s' (M,) among episodes whose elements (N, ...) are given, the first of
    them an even one. Pairs that one element did not move alike are left out, and so is an odd
    last episode."""
    first = torch.arange(len(elements) // 2 * 2, device=elements.device)
    second = first ^ 1
    rows = elements.view(len(elements), -1)
    is_shared = (rows[first] == rows[second]).all(1)
    return first[is_shared], second[is_shared]
