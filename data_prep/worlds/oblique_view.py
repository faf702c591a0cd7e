"""A fixed camera that looks down at the board at an angle, and what it covers of each pixel.

Space has x to the right along columns, y away from the viewer against rows, z upwards; a
cell has side 1 and the centre of the board is the origin.
"""

from functools import cache

import numpy as np

from data_prep.worlds.grid import SIDE

AZIMUTH, ELEVATION = 30.0, 47.0
"""Degrees that the camera stands to the right of the board's front, and above it."""
DISTANCE = 11.0
"""From the centre of the board, in cells: near enough for perspective."""
VIEW_SIDE = 50
MARGIN = 1.0
"""Pixels that nothing on the board comes into."""
SAMPLES = 16
"""Sample points a side of a pixel."""
FLOOR_THICKNESS, CUBE_SIDE = 0.3, 0.84
"""In cells. The picture holds the slab and a cube on any of its cells."""


def pixels(points: np.ndarray) -> np.ndarray:
    """Where points (..., 3) of space are seen: x to the right and y downwards, (..., 2)."""
    scale, offset = _frame()
    return np.asarray(_seen(points) * scale + offset)


def distance_to_camera(points: np.ndarray) -> np.ndarray:
    """Distances (...,) of points (..., 3) along the floor."""
    across = points[..., :2] - _camera()[:2]
    return np.asarray(np.hypot(across[..., 0], across[..., 1]))


def coverage(corners: np.ndarray) -> np.ndarray:
    """Sample points of each pixel in a convex outline (k, 2) in pixels, (50, 50) int64.

    Up to SAMPLES squared; 0 where the outline is seen from behind (anticlockwise).
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
    """Where the camera stands."""
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
    """Scale and offset by which the board and what stands on it fill the picture."""
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
