"""A group: D3, the turns by 120 degrees and the reflections of a hexagonal board.

A frame of odd side holds the board in axial coordinates: its cell (q, r) from the centre is the
pixel q columns to the right and r rows down. The group moves the cells within the largest hexagon,
|q|, |r|, |q + r| <= (side - 1) / 2, and leaves the two corners outside it unchanged.
"""

from functools import cache

import numpy as np

from orbit.api import Kind, PermutationGroup

TURN, FLIP = np.array([[-1, -1], [1, 0]]), np.array([[0, 1], [1, 0]])
TURNS = [np.linalg.matrix_power(TURN, turns) for turns in range(3)]
MATRICES = np.stack([*TURNS, *(turn @ FLIP for turn in TURNS)])
"""(6, 2, 2): the matrix by which each element acts on the coordinates (q, r)."""
NAMES = ("0", "120", "240", "flip", "flip + 120", "flip + 240")


def is_on_board(cells: np.ndarray, radius: int) -> np.ndarray:
    """Which cells (..., 2) lie in the hexagon with this many cells on each side of the middle
    one."""
    q, r = cells[..., 0], cells[..., 1]
    return np.maximum(np.maximum(abs(q), abs(r)), abs(q + r)) <= radius


def places(shape: tuple[int, ...]) -> np.ndarray:
    """The index of the pixel that each pixel's value comes from, under each element: (6, H W)."""
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] % 2 == 0:
        raise ValueError(f"group d3_hexagonal needs square frames of an odd side, not {shape}")
    radius = shape[0] // 2
    rows, columns = np.indices(shape).reshape(2, -1) - radius
    cells = np.stack([columns, rows], 1)
    inverses = np.round(np.linalg.inv(MATRICES)).astype(np.int64)
    before = np.einsum("gij,nj->gni", inverses, cells)
    before = np.where(is_on_board(cells, radius)[None, :, None], before, cells)
    return (before[..., 1] + radius) * shape[1] + before[..., 0] + radius


@cache
def d3_hexagonal() -> PermutationGroup:
    return PermutationGroup("d3_hexagonal", NAMES, places, probe=(3, 3))


GROUP = Kind("d3_hexagonal", None, d3_hexagonal)
