"""A z-buffer over all triangles at once: orthographic pictures of a mesh under rotations.

The camera looks along -z; x is to the right and y up, as in `pipeline.groups.interface`.
Triangles are cut into rows and rows into pixels. Pixel centres within a triangle compete
by one integer each, depth before face, so that neither order nor batch has any effect.
"""

from functools import reduce
from typing import NamedTuple

import numpy as np

from data_prep.rendering.fragments import find_fragments
from data_prep.rendering.meshes import Mesh

FILLING = 0.94
"""Radius of the unit ball relative to that of the picture's inscribed disc."""

LIGHT = np.array([0.45, 0.55, 0.70], np.float32) / np.float32(np.linalg.norm([0.45, 0.55, 0.70]))
AMBIENT = 0.35

CHUNK_TRIANGLES, CHUNK_SAMPLES = 24_000, 2**18
DEPTH_STEPS = 2.0**29
FACE_BITS = 32
EMPTY = np.iinfo(np.int64).max


class Pictures(NamedTuple):
    """`colour` (N, 3, S, S) premultiplied by `alpha` (N, 1, S, S), both float32 within 0..1.

    `depth` (N, S, S) float32 is z of the nearest surface, -inf where there is none.
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

    Every pixel is the mean of `supersampling` squared samples, which is its coverage
    where an outline passes. Faces are lit from both sides. `lights` are unit vectors to the
    light as seen, (N, 3) float32, or one for all pictures, (3,).
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
    """How many views of `fine` samples a side fit into the caches together."""
    return max(1, min(CHUNK_TRIANGLES // len(mesh.faces), CHUNK_SAMPLES // fine**2))


class Samples(NamedTuple):
    """What is seen at samples: `place` in the flattened (N, S, S), `face`, `brightness` and
    `depth` of the nearest surface there."""

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

    Of closed surfaces one side is enough: insides are never seen. `lights` as in `render`.
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
    """Lambert's law and ambient light, 0..1, for these faces; flat without weights of corners."""
    # The light and the viewer, turned back into the mesh's own frame.
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
