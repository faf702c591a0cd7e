"""Boards seen from above: one tile a cell, drawn once and then copied."""

import numpy as np

from data_prep.worlds.grid import SIDE

TILE = 10
"""Pixels a side of a cell."""
SAMPLES = 16
"""Sample points a side of a pixel, by which outlines are smooth."""

COLOURS = (
    (228, 26, 28),
    (55, 126, 184),
    (77, 175, 74),
    (152, 78, 163),
    (255, 127, 0),
)
"""Red, blue, green, purple, orange: matplotlib's Set1 at i / 9, as in the paper's worlds."""


def sample_points(num_pixels: int = TILE) -> tuple[np.ndarray, np.ndarray]:
    """x to the right and y upwards of the sample points of a tile, from its centre, in pixels.

    Both (num_pixels * SAMPLES, num_pixels * SAMPLES); multiples of a power of two.
    """
    num = num_pixels * SAMPLES
    place = (np.arange(num) + 0.5) / SAMPLES - num_pixels / 2
    return np.meshgrid(place, -place)


def coloured_tile(inside: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A tile (3, 10, 10) uint8 of one colour on black where the sample points are inside."""
    covered = inside.reshape(TILE, SAMPLES, TILE, SAMPLES).sum((1, 3))
    shades = np.array(colour)[:, None, None] * covered
    return np.asarray((shades + SAMPLES**2 // 2) // SAMPLES**2, np.uint8)


def paint_tiles(tiles: np.ndarray, places: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Boards (N, 3, 50, 50) uint8 of objects on different cells.

    `tiles` (K, 3, 10, 10) uint8; `places` (N, n, 2) rows and columns; `kinds` (N, n) or (n,)
    say which tile shows each object.
    """
    num = len(places)
    shown = np.full((num, SIDE * SIDE), len(tiles))
    cells = places[..., 0] * SIDE + places[..., 1]
    shown[np.arange(num)[:, None], cells] = kinds
    with_empty = np.concatenate([tiles, np.zeros_like(tiles[:1])])
    board = with_empty[shown].reshape(num, SIDE, SIDE, 3, TILE, TILE)
    picture = board.transpose(0, 3, 1, 4, 2, 5)
    return np.asarray(picture).reshape(num, 3, SIDE * TILE, SIDE * TILE)
