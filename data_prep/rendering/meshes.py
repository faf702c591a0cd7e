"""Triangle meshes and what shading needs of them."""

from typing import NamedTuple

import numpy as np

PLAIN_COLOUR = (0.85, 0.85, 0.85)
CLOSE_DIGITS = 5
"""Vertices that agree in these are one place."""
CREASE_COSINE = 0.8
"""A corner is shaded flat where its face leans further than this from the vertex's normal."""


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

    Its centre is that of its bounding box, and its farthest vertex has distance 1.
    Raises ValueError if all vertices of its faces lie in one place.
    """
    used = vertices[np.unique(faces)].astype(np.float64)
    centre = (used.min(0) + used.max(0)) / 2
    radius = np.linalg.norm(used - centre, axis=1).max()
    if not radius > 0:
        raise ValueError("all vertices lie in one place")
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
    """Whether the mesh bounds solids, oriented outwards: every side of a triangle is one of
    another, the other way round."""
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
    """Vectors (..., 3) at length 1; what has no length points to the viewer."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > 0, vectors / np.where(length > 0, length, 1), (0.0, 0.0, 1.0))
