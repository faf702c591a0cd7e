"""3D Blocks: cubes on a grey floor, seen at an angle (C-SWM's 3D grid world).

A picture is put together from sprites: a cube of each colour on each cell is drawn once, with
smooth outlines, and laid over what stands behind it. All of that is whole-number
arithmetic, so that pictures do not depend on the machine.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from data_prep.worlds.grid import SIDE
from data_prep.worlds.grid_world import GridWorld
from data_prep.worlds.oblique_view import (
    CUBE_SIDE,
    FLOOR_THICKNESS,
    SAMPLES,
    coverage,
    distance_to_camera,
    pixels,
)

COLOURS = (
    (148, 72, 196),
    (62, 176, 80),
    (255, 146, 30),
    (52, 122, 222),
    (150, 92, 52),
)
"""Purple, green, orange, blue, brown."""
FLOOR, JOINT, RIM = (158, 160, 164), (120, 122, 126), (110, 112, 116)
JOINT_WIDTH = 0.08
"""Of the lines between cells, in cells."""
TOP_LIGHT, FRONT_LIGHT, SIDE_LIGHT = 1.12, 0.86, 0.62
FULL = SAMPLES**2
"""The coverage of a pixel that shows nothing else: 256, so that mixing ends in a shift by 8."""


class Sprite(NamedTuple):
    """Cubes of all colours on one cell, cut to the pixels that they reach.

    `rows` and `columns` are slices of the picture, h and w long; `clear` (h, w) uint16 says how
    much of 256 stays visible of what lies behind, `paint` (5, 3, h, w) uint16 what is added
    to 256 times the picture, rounding included.
    """

    rows: slice
    columns: slice
    clear: np.ndarray
    paint: np.ndarray


def blocks_3d(actions: tuple[str, ...] | None) -> GridWorld:
    """The world; ValueError for actions that are not allowed."""
    return GridWorld("blocks_3d", paint_blocks, actions)


def paint_blocks(places: np.ndarray) -> np.ndarray:
    """Pictures (N, 3, 50, 50) uint8 of places (N, 5, 2) int64."""
    pictures = np.repeat(_floor()[None], len(places), axis=0)
    cells = places[..., 0] * SIDE + places[..., 1]
    for cell, sprite in _sprites():
        shown, which = np.nonzero(cells == cell)
        behind = pictures[shown, :, sprite.rows, sprite.columns]
        mixed = behind * sprite.clear
        mixed += sprite.paint[which]
        mixed >>= 8
        pictures[shown, :, sprite.rows, sprite.columns] = mixed
    return pictures


@cache
def _sprites() -> tuple[tuple[int, Sprite], ...]:
    """Cells with their sprites, the farthest first."""
    row, column = np.divmod(np.arange(SIDE * SIDE), SIDE)
    middle = (SIDE - 1) / 2
    centres = np.stack([column - middle, middle - row, np.zeros(SIDE * SIDE)], -1)
    order = np.argsort(-distance_to_camera(centres), kind="stable")
    return tuple((int(cell), _sprite(centres[cell])) for cell in order)


def _sprite(centre: np.ndarray) -> Sprite:
    low = centre - np.array([CUBE_SIDE / 2, CUBE_SIDE / 2, 0.0])
    counts = [coverage(pixels(face)) for face in _faces(low, np.full(3, CUBE_SIDE))]
    covered = np.sum(counts, 0)
    rows, columns = (_extent(covered.any(axis)) for axis in (1, 0))
    lights = (TOP_LIGHT, FRONT_LIGHT, SIDE_LIGHT)
    paint = np.stack(
        [_painted(counts, [_lit(colour, light) for light in lights]) for colour in COLOURS]
    )
    return Sprite(
        rows,
        columns,
        (FULL - covered)[rows, columns].astype(np.uint16),
        (paint + FULL // 2)[:, :, rows, columns].astype(np.uint16),
    )


@cache
def _floor() -> np.ndarray:
    """The empty board (3, 50, 50) uint8 on black: a slab, with joints between its cells."""
    half = SIDE / 2
    low, size = np.array([-half, -half, -FLOOR_THICKNESS]), np.array([SIDE, SIDE, FLOOR_THICKNESS])
    slab = [coverage(pixels(face)) for face in _faces(low, size)]
    lights = (1.0, FRONT_LIGHT, SIDE_LIGHT)
    picture = _painted(slab, [FLOOR, *(_lit(RIM, light) for light in lights[1:])])
    for place in range(1, SIDE):
        for axis in (0, 1):
            corner, extent = np.array([-half, -half, 0.0]), np.array([SIDE, SIDE, 0.0])
            corner[axis] = place - half - JOINT_WIDTH / 2
            extent[axis] = JOINT_WIDTH
            joint = coverage(pixels(_faces(corner, extent)[0]))
            picture += joint * (np.array(JOINT) - FLOOR)[:, None, None]
    return ((picture + FULL // 2) // FULL).clip(0, 255).astype(np.uint8)


def _faces(low: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Corners (3, 4, 3) of the faces of a box that the camera sees: top, front, right.

    Clockwise as they are seen.
    """
    top = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1], [1, 0, 1]])
    front = np.array([[0, 0, 0], [0, 0, 1], [1, 0, 1], [1, 0, 0]])
    right = np.array([[1, 0, 0], [1, 0, 1], [1, 1, 1], [1, 1, 0]])
    return np.asarray(low + np.stack([top, front, right]) * size)


def _painted(counts: list[np.ndarray], colours: list[tuple[int, ...]]) -> np.ndarray:
    """256 times the colours (3, 50, 50), int64, of faces that do not overlap."""
    parts = [
        np.array(colour)[:, None, None] * count
        for colour, count in zip(colours, counts, strict=True)
    ]
    return np.asarray(np.sum(parts, 0))


def _lit(colour: tuple[int, ...], light: float) -> tuple[int, ...]:
    return tuple(min(255, round(value * light)) for value in colour)


def _extent(used: np.ndarray) -> slice:
    """The smallest slice that holds all that is true."""
    places = np.flatnonzero(used)
    return slice(int(places[0]), int(places[-1]) + 1)
