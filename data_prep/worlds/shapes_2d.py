"""2D Shapes: circles, triangles and squares on black, always upright (C-SWM's grid world)."""

from functools import cache, partial

import numpy as np

from data_prep.settings.worlds import Shapes2dWorldConfig
from data_prep.worlds.grid import NUM_OBJECTS
from data_prep.worlds.grid_world import GridWorld
from data_prep.worlds.tiles import COLOURS, coloured_tile, paint_tiles, sample_points

RADIUS = 4.5
"""Half the size of a shape, in pixels."""


def shapes_2d(config: Shapes2dWorldConfig, actions: tuple[str, ...] | None) -> GridWorld:
    """The world; ValueError for actions that are not allowed."""
    painter = partial(paint_shapes, shapes=tuple(config.shapes))
    return GridWorld(config.name, painter, actions, {"shapes": list(config.shapes)})


def paint_shapes(places: np.ndarray, shapes: tuple[str, ...]) -> np.ndarray:
    """Pictures (N, 3, 50, 50) uint8 of places (N, 5, 2) int64, shapes dealt in turn."""
    return paint_tiles(_tiles(shapes), places, np.arange(NUM_OBJECTS))


@cache
def _tiles(shapes: tuple[str, ...]) -> np.ndarray:
    inside = [_inside(shapes[number % len(shapes)]) for number in range(NUM_OBJECTS)]
    return np.stack(list(map(coloured_tile, inside, COLOURS)))


def _inside(shape: str) -> np.ndarray:
    """Which sample points of a tile the shape covers."""
    x, y = sample_points()
    match shape:
        case "circle":
            return np.asarray(x**2 + y**2 <= RADIUS**2)
        case "triangle":
            # The sides rise from the lower corners to the middle of the top.
            return np.asarray((y >= -RADIUS) & (y + 2 * abs(x) <= RADIUS))
        case "square":
            return np.asarray(np.maximum(abs(x), abs(y)) <= RADIUS)
        case "diamond":
            return np.asarray(abs(x) + abs(y) <= RADIUS)
    raise ValueError(f"unknown shape {shape!r}")
