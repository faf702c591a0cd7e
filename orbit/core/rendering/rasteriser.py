"""From projected triangles to pixels: rows, then pixel centres, then the nearest by depth.

The camera looks along -z; x is to the right and y up, as in `orbit.core.groups.interface`.
Triangles are cut into rows and rows into pixels. Each pixel centre in a triangle gets one integer,
made of depth and then face, and the nearest wins, so that neither order nor batch has any effect.
"""

import base64
import zlib
from collections.abc import Iterator
from functools import reduce
from typing import NamedTuple

import numpy as np

from orbit.core.pictures import AMBIENT, LIGHT
from orbit.core.rendering.meshes import Mesh, make_mesh

CHUNK_FRAGMENTS = 1_000_000
EDGE_TOLERANCE = 1e-4
"""In pixels; neighbouring triangles overlap by this, so that rounding leaves no gap between
them."""
MIN_SLOPE = 1e-3
"""Triangles seen at an angle with a smaller sine are too thin to draw."""
LEVEL = 1e-3
"""Sides of a smaller height, in pixels, bound no row."""


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
    # Cross product of two sides, with z in pixels too: (-gradient of z, 1) * area.
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

    Corners are sorted downwards first, so that triangles that share a side compute the same bits
    for it, whatever the order of their corners.
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
    """Slope and start of x = start + slope * y; a horizontal line is treated as vertical at its
    end."""
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
    """Consecutive slices whose counts sum to at most CHUNK_FRAGMENTS, or slices of one entry."""
    ends = np.cumsum(counts)
    first = 0
    while first < len(counts):
        done = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + CHUNK_FRAGMENTS, "right")))
        yield slice(first, last)
        first = last


MAX_FACES = 50_000
"""A tenth of this already makes a manifest of 100 kB."""


def pack_mesh(vertices: np.ndarray, faces: np.ndarray) -> str:
    """Vertices (V, 3) and triangles (F, 3) as NUM_VERTICES:NUM_FACES:DATA.

    DATA is base64 of the compressed arrays: the vertices used by triangles in float32, then the
    triangles in int32. Raises ValueError for more than `MAX_FACES` triangles.
    """
    if len(faces) > MAX_FACES:
        raise ValueError(f"the mesh has {len(faces):,} triangles; up to {MAX_FACES:,} are allowed")
    used, corners = np.unique(faces, return_inverse=True)
    data = vertices[used].astype("<f4").tobytes() + corners.astype("<i4").tobytes()
    text = base64.b64encode(zlib.compress(data, 9)).decode("ascii")
    return f"{len(used)}:{len(faces)}:{text}"


def unpack_mesh(text: str) -> Mesh:
    """The mesh of a packed text; ValueError for another text."""
    try:
        num_vertices, num_faces, data = text.split(":")
        size = 12 * (int(num_vertices) + int(num_faces))
        values = zlib.decompressobj().decompress(base64.b64decode(data, validate=True), size)
        vertices = np.frombuffer(values, "<f4", 3 * int(num_vertices)).reshape(-1, 3)
        faces = np.frombuffer(values, "<i4", offset=vertices.nbytes).reshape(-1, 3)
        if len(faces) != int(num_faces) or not 0 <= faces.min() <= faces.max() < len(vertices):
            raise ValueError
    except (ValueError, zlib.error):
        raise ValueError("settings.mesh of the manifest is not a packed mesh") from None
    return make_mesh(vertices, faces)


FILLING = 0.94
"""Radius of the unit ball relative to that of the picture's inscribed disc."""

CHUNK_TRIANGLES, CHUNK_SAMPLES = 24_000, 2**18
DEPTH_STEPS = 2.0**29
FACE_BITS = 32
EMPTY = np.iinfo(np.int64).max


class Pictures(NamedTuple):
    """`colour` (N, 3, S, S) premultiplied by `alpha` (N, 1, S, S), both float32 within 0..1.

    `depth` (N, S, S) float32 is z of the nearest surface, -inf in pixels without one.
    """

    colour: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray


def render(
    mesh: Mesh,
    rotations: np.ndarray,
    size: int,
    supersampling: int = 2,
    is_smooth: bool = True,
    lights: np.ndarray = LIGHT,
) -> Pictures:
    """Pictures of `size` pixels a side under rotation matrices (N, 3, 3).

    Every pixel is the mean of `supersampling` squared samples; `alpha` is thus the covered share of
    a pixel. Faces are lit from both sides. `lights` are unit vectors to the light as seen, (N, 3)
    float32, or one for all pictures, (3,).
    """
    fine = size * supersampling
    num = len(rotations)
    lights = np.broadcast_to(lights, (num, 3))
    colour = np.empty((num, 3, size, size), np.float32)
    alpha = np.empty((num, 1, size, size), np.float32)
    depth = np.empty((num, size, size), np.float32)
    step = views_at_once(mesh, fine)
    for first in range(0, num, step):
        turns = rotations[first : first + step].astype(np.float32)
        part = lights[first : first + step]
        seen = find_samples(mesh, turns, fine, is_smooth, lights=part)
        layers = np.zeros((5, len(turns) * fine * fine), np.float32)
        layers[4] = -np.inf
        for channel in range(3):
            layers[channel, seen.place] = (
                np.take(mesh.colours[:, channel], seen.face) * seen.brightness
            )
        layers[3, seen.place] = 1
        layers[4, seen.place] = seen.depth
        phases = [
            layers.reshape(5, len(turns), fine, fine)[
                ..., row::supersampling, column::supersampling
            ]
            for row in range(supersampling)
            for column in range(supersampling)
        ]
        mean = _sum([phase[:4] for phase in phases]) * np.float32(1 / len(phases))
        colour[first : first + step] = mean[:3].swapaxes(0, 1)
        alpha[first : first + step, 0] = mean[3]
        depth[first : first + step] = reduce(np.maximum, (phase[4] for phase in phases))
    return Pictures(colour, alpha, depth)


def views_at_once(mesh: Mesh, fine: int) -> int:
    """How many views of `fine` samples a side fit into the processor's cache together."""
    return max(1, min(CHUNK_TRIANGLES // len(mesh.faces), CHUNK_SAMPLES // fine**2))


class Samples(NamedTuple):
    """The visible samples: `place` is the index in the flattened (N, S, S); `face`, `brightness`
    and `depth` belong to the nearest surface."""

    place: np.ndarray
    face: np.ndarray
    brightness: np.ndarray
    depth: np.ndarray


def find_samples(
    mesh: Mesh,
    rotations: np.ndarray,
    size: int,
    is_smooth: bool,
    is_one_sided: bool = False,
    lights: np.ndarray = LIGHT,
) -> Samples:
    """The samples of `size` a side that show the mesh under rotations (N, 3, 3) float32.

    For closed surfaces one side is enough, because insides are never seen. `lights` as in `render`.
    """
    num_faces = len(mesh.faces)
    scale = np.float32(FILLING * size / 2)
    # Sums written out: a matrix product may round differently in another batch.
    turned = [
        _sum([rotations[:, axis, k, None] * mesh.vertices[:, k] for k in range(3)])
        for axis in range(3)
    ]
    middle = np.float32((size - 1) / 2)
    places = (turned[0] * scale + middle, middle - turned[1] * scale, turned[2])
    x, y, z = (
        [np.take(place, mesh.faces[:, corner], axis=1).reshape(-1) for corner in range(3)]
        for place in places
    )
    buffer = np.full(len(rotations) * size * size, EMPTY, np.int64)
    for triangle, pixel, depth in find_fragments(x, y, z, size, scale, num_faces, is_one_sided):
        depth = np.clip(depth, -1.5, 1.5)
        key = ((np.float32(2) - depth) * np.float32(DEPTH_STEPS)).astype(np.int64) << FACE_BITS
        np.minimum.at(buffer, pixel, key | (triangle % num_faces))
    seen = np.flatnonzero(buffer != EMPTY)
    key = np.take(buffer, seen)
    face = key & (2**FACE_BITS - 1)
    view, place = np.divmod(seen.astype(np.int32), np.int32(size * size))
    triangle = view * np.int64(num_faces) + face
    weights = None
    if is_smooth:
        weights = _barycentric(x, y, triangle, *np.divmod(place, np.int32(size)))
    shade = _shade(
        mesh, rotations, np.broadcast_to(lights, (len(rotations), 3)), face, view, weights
    )
    depth = (2 - (key >> FACE_BITS) / DEPTH_STEPS).astype(np.float32)
    return Samples(seen, face, shade, depth)


def _shade(
    mesh: Mesh,
    rotations: np.ndarray,
    lights: np.ndarray,
    face: np.ndarray,
    view: np.ndarray,
    weights: list[np.ndarray] | None,
) -> np.ndarray:
    """Brightness 0..1 of these faces by Lambert's law and ambient light; flat without weights of
    corners."""
    # The light and the viewer, turned into the mesh's own frame.
    lights = _sum([rotations[:, k] * lights[:, k, None] for k in range(3)])
    lit, facing, square = (np.zeros(len(face), np.float32) for _ in range(3))
    for axis in range(3):
        flat = np.take(mesh.face_normals[:, axis], face)
        facing += flat * np.take(rotations[:, 2, axis], view)
        normal = flat
        if weights is not None:
            corners = mesh.corner_normals[:, :, axis]
            normal = _sum([weights[k] * np.take(corners[:, k], face) for k in range(3)])
        lit += normal * np.take(lights[:, axis], view)
        square += normal * normal
    lit /= np.sqrt(square) + np.float32(1e-12)
    lit = np.maximum(np.where(facing < 0, -lit, lit), 0)
    shade: np.ndarray = np.float32(AMBIENT) + np.float32(1 - AMBIENT) * lit
    return shade


def _barycentric(
    x: list[np.ndarray],
    y: list[np.ndarray],
    triangle: np.ndarray,
    at_y: np.ndarray,
    at_x: np.ndarray,
) -> list[np.ndarray]:
    """Weights of the three corners at pixel centres, within 0..1."""
    dx = [np.take(x[k], triangle) - at_x.astype(np.float32) for k in range(3)]
    dy = [np.take(y[k], triangle) - at_y.astype(np.float32) for k in range(3)]
    parts = [dx[1] * dy[2] - dx[2] * dy[1], dx[2] * dy[0] - dx[0] * dy[2]]
    parts.append(dx[0] * dy[1] - dx[1] * dy[0])
    total = _sum(parts)
    total[total == 0] = 1
    return [np.clip(part / total, 0, 1) for part in parts]


def _sum(parts: list[np.ndarray]) -> np.ndarray:
    return reduce(np.add, parts)
