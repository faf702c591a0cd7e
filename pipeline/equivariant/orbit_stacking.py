"""From a square map to fibres of c4: the same quadrant of its four turns.

(Released code of Park et al., "orbit stack".)
"""

import torch


def num_orbits(size: int) -> int:
    """Number of orbits of quarter turns on a size x size map.

    (size / 2)^2 for an even size, else 1 + c + c^2 with c = (size - 1) / 2: the centre, whose
    four values are the same, and a quadrant of c rows and c + 1 columns.
    """
    half = size // 2
    return half * half if size % 2 == 0 else 1 + half * (half + 1)


def orbit_stack(maps: torch.Tensor) -> torch.Tensor:
    """Square maps (..., S, S) to regular c4 fibres (..., 4, num_orbits(S)).

    Value h of a fibre is read from the map after h quarter turns, so that a turn of the map
    moves the fibre by the regular representation. Values are moved only. ValueError unless
    the maps are square.
    """
    size = maps.shape[-1]
    if maps.shape[-2] != size:
        raise ValueError(f"orbits of quarter turns need square maps, not {tuple(maps.shape[-2:])}")
    turned = torch.stack([maps.rot90(turns, (-2, -1)) for turns in range(4)], -3)
    half = size // 2
    if size % 2 == 0:
        return turned[..., :half, :half].flatten(-2)
    quadrant = turned[..., :half, : half + 1].flatten(-2)
    return torch.cat((quadrant, turned[..., half, half, None]), -1)
