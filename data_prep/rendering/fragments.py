"""From projected triangles to the pixel centres within them: rows first, then pixels."""

from collections.abc import Iterator

import numpy as np

CHUNK_FRAGMENTS = 1_000_000
EDGE_TOLERANCE = 1e-4
"""In pixels; neighbours overlap by it, so that rounding leaves no gap between them."""
MIN_SLOPE = 1e-3
"""Triangles seen under a smaller sine have no area worth a pixel."""
LEVEL = 1e-3
"""Sides lower than this, in pixels, bound no row."""


def find_fragments(
    x: list[np.ndarray],
    y: list[np.ndarray],
    z: list[np.ndarray],
    size: int,
    scale: np.float32,
    num_faces: int,
    is_one_sided: bool = False,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Triangle, flattened pixel and depth of every pixel centre within a triangle.

    `x`, `y` (in pixels, downwards) and `z` hold the three corners of all views' triangles. If
    they are one-sided, those seen from behind, clockwise, are left out.
    """
    low, high = np.float32(-EDGE_TOLERANCE), np.float32(size - 1 + EDGE_TOLERANCE)
    tolerance = np.float32(EDGE_TOLERANCE)
    top = np.ceil(np.maximum(np.minimum(np.minimum(y[0], y[1]), y[2]), low) - tolerance)
    bottom = np.floor(np.minimum(np.maximum(np.maximum(y[0], y[1]), y[2]), high) + tolerance)
    left = np.ceil(np.minimum(np.minimum(x[0], x[1]), x[2]) - tolerance)
    right = np.floor(np.maximum(np.maximum(x[0], x[1]), x[2]) + tolerance)
    is_seen = (bottom >= top) & (right >= left)
    if is_one_sided:
        is_seen &= (x[1] - x[0]) * (y[2] - y[0]) < (x[2] - x[0]) * (y[1] - y[0])
    kept = np.flatnonzero(is_seen)
    x, y, z = ([np.take(values, kept) for values in corners] for corners in (x, y, z))
    dx, dy, dz = ([c[1] - c[0], c[2] - c[0]] for c in (x, y, z))
    # Cross product of two sides, z in pixels as well: (-gradient of z, 1) * area.
    area = dx[0] * dy[1] - dx[1] * dy[0]
    slope_x = dz[0] * dy[1] - dz[1] * dy[0]
    slope_y = dx[0] * dz[1] - dx[1] * dz[0]
    steep = (slope_x * slope_x + slope_y * slope_y) * (scale * scale)
    is_flat = area * area > np.float32(MIN_SLOPE**2) * steep
    with np.errstate(divide="ignore", invalid="ignore"):
        slope_x /= area
        slope_y /= area
    top, bottom = np.take(top, kept), np.take(bottom, kept)
    num_rows = np.where(is_flat, bottom - top + 1, 0).astype(np.int64)
    row_triangle = np.repeat(np.arange(len(kept)), num_rows)
    row_y = _counted(num_rows) + np.take(top, row_triangle)
    start, end = _spans(x, y, row_triangle, row_y)
    first = np.ceil(np.maximum(start, low) - tolerance)
    width = np.floor(np.minimum(end, high) + tolerance) - first + 1
    filled = np.flatnonzero(width > 0)
    row_triangle, row_y = np.take(row_triangle, filled), np.take(row_y, filled)
    first, width = np.take(first, filled), np.take(width, filled).astype(np.int64)
    gradient = np.take(slope_x, row_triangle)
    row_z = (
        np.take(z[0], row_triangle)
        + np.take(slope_y, row_triangle) * (row_y - np.take(y[0], row_triangle))
        + gradient * (first - np.take(x[0], row_triangle))
    )
    row_triangle = np.take(kept, row_triangle)
    view = row_triangle // num_faces
    row_pixel = (view * size + row_y.astype(np.int64)) * size + first.astype(np.int64)
    for rows in _bounded(width):
        counts = width[rows]
        owner = np.repeat(np.arange(rows.start, rows.stop), counts)
        step = _counted(counts)
        depth = np.take(row_z, owner) + np.take(gradient, owner) * step.astype(np.float32)
        yield np.take(row_triangle, owner), np.take(row_pixel, owner) + step, depth


def _spans(
    x: list[np.ndarray], y: list[np.ndarray], triangle: np.ndarray, row_y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where each row of each triangle starts and ends, in pixels.

    Corners are sorted downwards first: triangles that share a side then share its
    place bit for bit, whatever the order of their corners.
    """
    (xa, xb, xc), (ya, yb, yc) = x, y
    ya, yb, xa, xb = _sorted(ya, yb, xa, xb)
    yb, yc, xb, xc = _sorted(yb, yc, xb, xc)
    ya, yb, xa, xb = _sorted(ya, yb, xa, xb)
    long_slope, long_start = _line(xa, ya, xc, yc)
    upper, lower = _line(xa, ya, xb, yb), _line(xb, yb, xc, yc)
    short_slope, short_start = (np.concatenate(pair) for pair in zip(upper, lower, strict=True))
    side = triangle + (row_y >= np.take(yb, triangle)) * len(xa)
    on_long = np.take(long_start, triangle) + np.take(long_slope, triangle) * row_y
    on_short = np.take(short_start, side) + np.take(short_slope, side) * row_y
    return np.minimum(on_long, on_short), np.maximum(on_long, on_short)


def _sorted(
    ya: np.ndarray, yb: np.ndarray, xa: np.ndarray, xb: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    is_swapped = yb < ya
    return (
        np.minimum(ya, yb),
        np.maximum(ya, yb),
        np.where(is_swapped, xb, xa),
        np.where(is_swapped, xa, xb),
    )


def _line(
    xa: np.ndarray, ya: np.ndarray, xb: np.ndarray, yb: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Slope and start of x = start + slope * y; a level line is taken as upright at its end."""
    height = yb - ya
    is_level = height < np.float32(LEVEL)
    slope = np.where(is_level, 0, (xb - xa) / np.where(is_level, 1, height)).astype(np.float32)
    return slope, np.where(is_level, xb, xa - slope * ya)


def _counted(counts: np.ndarray) -> np.ndarray:
    """0, 1, ..., count - 1 for each count, one after the other."""
    ends = np.cumsum(counts)
    steps: np.ndarray = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
    return steps


def _bounded(counts: np.ndarray) -> Iterator[slice]:
    """Consecutive slices of at most CHUNK_FRAGMENTS counted things, or of one entry."""
    ends = np.cumsum(counts)
    first = 0
    while first < len(counts):
        done = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + CHUNK_FRAGMENTS, "right")))
        yield slice(first, last)
        first = last
