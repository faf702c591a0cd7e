"""From a square map to fibres of c4: the same quadrant of its four turns.

(Released code of Park et al., "orbit stack".)
"""

import torch


def num_orbits(size: int) -> int:
    """Number of orbits of quarter turns on a size x size map.

    (size / 2)^2 for an even size, else 1 + c + c^2 with c = (size - 1) / 2: the centre, whose
    four values are the same, one arm, and one open quadrant.
    """
    half = size // 2
    return half * half if size % 2 == 0 else 1 + half + half * half


def orbit_stack(maps: torch.Tensor) -> torch.Tensor:
    """Square maps (..., S, S) to regular c4 fibres (..., 4, num_orbits(S)).

    Value h of a fibre is read from the map after h quarter turns, so that a turn of the map
    moves the fibre by the regular representation. Values are moved only. ValueError unless
    the maps are square.
    """
    raise NotImplementedError
