"""3D Blocks: cubes on a board that a fixed camera sees from above at an angle.

In space, x points to the right along columns, y away from the viewer against rows, z upwards; a
cell has side 1 and the centre of the board is the origin.

A picture consists of sprites: a cube of each colour on each cell is drawn once, with smooth
outlines, and laid over the cubes behind it. This uses integer arithmetic only, so that pictures do
not depend on the machine.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from data_prep.settings.worlds import Blocks3dWorldConfig
from data_prep.worlds.grid_world import SIDE, GridWorld
from orbit.core.plugins import Kind

AZIMUTH, ELEVATION = 30.0, 47.0
"""Position of the camera, in degrees to the right of the board's front, and above it."""
DISTANCE = 11.0
"""Distance from the centre of the board, in cells: small enough for visible perspective."""
VIEW_SIDE = 50
MARGIN = 1.0
"""Empty pixels at the border of a picture."""
SAMPLES = 16
"""Sample points a side of a pixel."""
FLOOR_THICKNESS, CUBE_SIDE = 0.3, 0.84
"""In cells. The picture shows the slab and a cube on any of its cells."""


def pixels(points: np.ndarray) -> np.ndarray:
    """The pixels at which points (..., 3) of space are seen: x to the right, y downwards, (...,
    2)."""
    scale, offset = _frame()
    return np.asarray(_seen(points) * scale + offset)


def distance_to_camera(points: np.ndarray) -> np.ndarray:
    """Distances (...,) of points (..., 3) from the camera, along the floor."""
    across = points[..., :2] - _camera()[:2]
    return np.asarray(np.hypot(across[..., 0], across[..., 1]))


def coverage(corners: np.ndarray) -> np.ndarray:
    """Sample points of each pixel in a convex outline (k, 2) in pixels, (50, 50) int64.

    Up to SAMPLES squared; 0 if the outline is seen from behind (counter-clockwise).
    """
    counts = np.zeros((VIEW_SIDE, VIEW_SIDE), np.int64)
    left, top = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(corners.max(0)).astype(int), VIEW_SIDE)
    x, y = np.meshgrid(_samples(left, right), _samples(top, bottom))
    inside = np.ones(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        inside &= (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0
    by_pixel = inside.reshape(bottom - top, SAMPLES, right - left, SAMPLES)
    counts[top:bottom, left:right] = by_pixel.sum((1, 3))
    return counts


def _samples(first: int, last: int) -> np.ndarray:
    """Sample points along one side of the pixels `first` to `last` (exclusive)."""
    return np.asarray((np.arange(first * SAMPLES, last * SAMPLES) + 0.5) / SAMPLES)


def _camera() -> np.ndarray:
    """The position of the camera."""
    azimuth, elevation = np.radians(AZIMUTH), np.radians(ELEVATION)
    level = np.array([np.sin(azimuth), -np.cos(azimuth)]) * np.cos(elevation)
    return DISTANCE * np.array([*level, np.sin(elevation)])


def _seen(points: np.ndarray) -> np.ndarray:
    """Perspective projection with x to the right and y downwards, unscaled."""
    camera = _camera()
    forward = -camera / np.linalg.norm(camera)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    relative = points - camera
    depth = relative @ forward
    return np.asarray(np.stack([relative @ right, relative @ down], -1) / depth[..., None])


@cache
def _frame() -> tuple[float, np.ndarray]:
    """Scale and offset with which the board and its cubes fill the picture."""
    half = SIDE / 2
    corners = [
        (x, y, z)
        for x in (-half, half)
        for y in (-half, half)
        for z in (-FLOOR_THICKNESS, CUBE_SIDE)
    ]
    seen = _seen(np.array(corners))
    low, high = seen.min(0), seen.max(0)
    scale = (VIEW_SIDE - 2 * MARGIN) / (high - low).max()
    return float(scale), VIEW_SIDE / 2 - scale * (low + high) / 2


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
"""Width of the lines between cells, in cells."""
TOP_LIGHT, FRONT_LIGHT, SIDE_LIGHT = 1.12, 0.86, 0.62
FULL = SAMPLES**2
"""The coverage of a fully covered pixel: 256, so that mixing ends in a shift by 8."""


class Sprite(NamedTuple):
    """Cubes of all colours on one cell, cut to the pixels that they reach.

    `rows` and `columns` are slices of the picture, h and w long; `clear` (h, w) uint16 is the
    share, of 256, of the background that stays visible; `paint` (5, 3, h, w) uint16 is added to 256
    times the picture, with rounding included.
    """

    rows: slice
    columns: slice
    clear: np.ndarray
    paint: np.ndarray


def blocks_3d(actions: tuple[str, ...] | None) -> GridWorld:
    """The world; ValueError for actions that are not allowed."""
    return GridWorld("blocks_3d", paint_blocks, actions)


def paint_blocks(places: np.ndarray) -> np.ndarray:
    """Pictures (N, 3, 50, 50) uint8 of objects on cells (N, 5, 2) int64."""
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

    Clockwise as seen.
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
    """The smallest slice that contains all true values."""
    places = np.flatnonzero(used)
    return slice(int(places[0]), int(places[-1]) + 1)


WORLD = Kind("blocks_3d", Blocks3dWorldConfig, lambda config, actions: blocks_3d(actions))
