"""Square maps as fibres: the values that turns take to each other, side by side."""

import torch

from pipeline.groups.cyclic import rotate_quarter_turns


def num_orbits(side: int) -> int:
    """Orbits of the cells of a square map under quarter turns."""
    return (side * side + 3) // 4


def orbit_places(side: int) -> torch.Tensor:
    """(4, num_orbits) int64: for each turn h and orbit, the cell (row-major) that h takes to
    the orbit's first one, so that place h of a turned map is place h + g of the map itself."""
    cells = torch.arange(side * side).view(1, 1, side, side).expand(4, -1, -1, -1)
    turned = rotate_quarter_turns(cells, torch.arange(4)).reshape(4, -1)
    firsts = [cell for cell in range(side * side) if turned[:, cell].min() == cell]
    return turned[:, firsts]


def orbit_stack(maps: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Maps (..., s, s) to fibres (..., 4, num_orbits); `places` are those of `orbit_places`."""
    return maps.flatten(-2)[..., places]
