"""Meshes to render: triangles with normals, and a generated pot without any symmetry.

The spout points to +x, the handle to -x, the lid to +y and the stick to +z. Without the stick the
pot would be its own mirror image, with the same outline from opposite sides.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

PLAIN_COLOUR = (0.85, 0.85, 0.85)
CLOSE_DIGITS = 5
"""Vertices that agree to this number of digits are the same point."""
CREASE_COSINE = 0.8
"""A corner is shaded flat if the angle between its face and the vertex's normal has a smaller
cosine."""


class Mesh(NamedTuple):
    """A mesh within the unit ball about the origin, x to the right, y up, z to the viewer.

    `vertices` (V, 3) float32, `faces` (F, 3) int64, `colours` (F, 3) float32 within
    0..1, `face_normals` (F, 3) and `corner_normals` (F, 3 corners, 3) float32 of length 1.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray
    face_normals: np.ndarray
    corner_normals: np.ndarray


def make_mesh(vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray | None = None) -> Mesh:
    """A mesh of vertices (V, 3), faces (F, 3) and face colours (F, 3), fitted into the unit ball.

    Its centre is that of its bounding box, and its farthest vertex has distance 1. Raises
    ValueError if all vertices of its faces are at the same point.
    """
    used = vertices[np.unique(faces)].astype(np.float64)
    centre = (used.min(0) + used.max(0)) / 2
    radius = np.linalg.norm(used - centre, axis=1).max()
    if not radius > 0:
        raise ValueError("all vertices are at the same point")
    fitted = (vertices - centre) / radius
    corners = fitted[faces]
    crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    at_vertices = np.zeros_like(fitted)
    for corner in range(3):
        np.add.at(at_vertices, faces[:, corner], crossed)
    flat, smooth = _unit(crossed)[:, None], _unit(at_vertices)[faces]
    is_smooth = (flat * smooth).sum(2, keepdims=True) > CREASE_COSINE
    if colours is None:
        colours = np.broadcast_to(PLAIN_COLOUR, faces.shape)
    return Mesh(
        fitted.astype(np.float32),
        faces.astype(np.int64),
        colours.astype(np.float32),
        flat[:, 0].astype(np.float32),
        np.where(is_smooth, smooth, flat).astype(np.float32),
    )


def is_closed(mesh: Mesh) -> bool:
    """Whether the mesh bounds solids, oriented outwards: every side of a triangle is also a side of
    another, in the opposite direction."""
    places = mesh.vertices.round(CLOSE_DIGITS) + np.float32(0)
    place = np.unique(places, axis=0, return_inverse=True)[1].reshape(-1)
    corners = place[mesh.faces].astype(np.int64)
    sides = np.concatenate([corners[:, [k, (k + 1) % 3]] for k in range(3)])
    sides = sides[sides[:, 0] != sides[:, 1]]
    there, back = (np.sort(sides @ code) for code in ((len(place), 1), (1, len(place))))
    x, y, z = (mesh.vertices[mesh.faces[:, corner]].astype(np.float64) for corner in range(3))
    volume = float((np.cross(x, y) * z).sum())
    return bool(np.array_equal(there, back)) and volume > 0


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) scaled to length 1; vectors of length 0 point to the viewer."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > 0, vectors / np.where(length > 0, length, 1), (0.0, 0.0, 1.0))


BODY = np.array(
    [  # height, radius
        (-0.77, 0.00),
        (-0.76, 0.52),
        (-0.72, 0.60),
        (-0.54, 0.82),
        (-0.28, 0.97),
        (0.00, 1.00),
        (0.24, 0.91),
        (0.42, 0.74),
        (0.47, 0.66),
        (0.50, 0.72),
        (0.56, 0.72),
        (0.59, 0.60),
        (0.70, 0.41),
        (0.77, 0.22),
        (0.80, 0.08),
        (0.85, 0.08),
        (0.90, 0.14),
        (0.97, 0.14),
        (1.03, 0.07),
        (1.04, 0.00),
    ]
)
SPOUT = np.array(
    [  # x, height, radius
        (0.70, -0.36, 0.00),
        (0.72, -0.35, 0.30),
        (1.02, -0.20, 0.25),
        (1.22, 0.04, 0.19),
        (1.36, 0.28, 0.15),
        (1.54, 0.46, 0.14),
        (1.56, 0.47, 0.00),
    ]
)
LOOP_MIDDLE, LOOP_HALF_WIDTH, LOOP_HALF_HEIGHT, LOOP_RADIUS = (-0.86, 0.04), 0.62, 0.40, 0.10
STICK = np.array(
    [  # z, height, radius
        (0.80, -0.06, 0.00),
        (0.82, -0.05, 0.14),
        (1.16, 0.10, 0.12),
        (1.50, 0.25, 0.15),
        (1.58, 0.29, 0.11),
        (1.60, 0.30, 0.00),
    ]
)
NUM_LOOP_RINGS = 11


@cache
def asymmetric_pot(num_sides: int = 24) -> Mesh:
    """The pot as a mesh of about 1,400 grey triangles, smooth except at its rims."""
    half = num_sides // 2
    zero = np.zeros(len(BODY))
    angle = np.linspace(-0.5, 0.5, NUM_LOOP_RINGS) * np.pi
    x, y = LOOP_MIDDLE
    loop = np.stack(
        [x - LOOP_HALF_WIDTH * np.cos(angle), y + LOOP_HALF_HEIGHT * np.sin(angle), 0 * angle], -1
    )
    loop_radii = np.where(abs(angle) < np.pi / 2, LOOP_RADIUS, 0.0)
    spout = np.stack([SPOUT[:, 0], SPOUT[:, 1], np.zeros(len(SPOUT))], -1)
    stick = np.stack([np.zeros(len(STICK)), STICK[:, 1], STICK[:, 0]], -1)
    parts = [
        tube(np.stack([zero, BODY[:, 0], zero], -1), BODY[:, 1], num_sides, (0, 0, 1)),
        tube(spout, SPOUT[:, 2], half, (0, 0, 1)),
        tube(loop, loop_radii, half, (0, 0, 1)),
        tube(stick, STICK[:, 2], half, (1, 0, 0)),
    ]
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in parts)])
    return make_mesh(
        np.concatenate([vertices for vertices, _ in parts]),
        np.concatenate([faces + start for (_, faces), start in zip(parts, starts, strict=False)]),
    )


def tube(
    centres: np.ndarray, radii: np.ndarray, num_sides: int, normal: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Joined rings about a path in a plane: vertices (V, 3) and triangles (F, 3), counter-clockwise
    as seen from outside.

    `centres` (K, 3) lie in a plane with this unit normal; a radius of 0 closes an end.
    """
    tangent = np.gradient(centres, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    across = np.broadcast_to(np.array(normal, float), tangent.shape)
    beside = np.cross(tangent, across)
    angle = 2 * np.pi * np.arange(num_sides) / num_sides
    spokes = (
        np.cos(angle)[:, None] * across[:, None, :] + np.sin(angle)[:, None] * beside[:, None, :]
    )
    vertices = centres[:, None, :] + radii[:, None, None] * spokes
    first = np.arange(num_sides)
    second = (first + 1) % num_sides
    faces = []
    for ring in range(len(centres) - 1):
        near, far = ring * num_sides, (ring + 1) * num_sides
        if radii[ring] > 0:
            faces.append(np.stack([near + first, near + second, far + first], 1))
        if radii[ring + 1] > 0:
            faces.append(np.stack([near + second, far + second, far + first], 1))
    return vertices.reshape(-1, 3), np.concatenate(faces)
