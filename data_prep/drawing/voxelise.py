"""Which voxels of a lattice lie inside a closed surface of triangles."""

import numpy as np

OFFSET = (0.73e-5, 1.37e-5, 2.91e-5)
"""How far beside the voxels' centres points are taken, in voxels: clear of corners on a lattice."""


def fill(vertices: np.ndarray, faces: np.ndarray, side: int) -> np.ndarray:
    """Whether the centre of each voxel lies inside, (side, side, side) bool.

    `vertices` (v, 3) are in voxels along the three axes, voxel centres at integers;
    `faces` (f, 3) are the corners of triangles that are oriented alike. A point is inside
    if the surface winds around it: bodies that overlap are joined, and a cavity is one
    whose faces are turned around. Rays run along the first axis, one a column of voxels.
    """
    faces, column = _candidates(vertices, faces, side)
    ray = np.stack([column // side, column % side], 1) + OFFSET[1:]
    beside = [_beside_edge(vertices, faces, ray, pair) for pair in ((1, 2), (2, 0), (0, 1))]
    positive = np.stack([is_positive for _, is_positive in beside])
    is_hit = positive.all(0) | ~positive.any(0)
    areas = np.stack([area for area, _ in beside])[:, is_hit]
    height = (areas * vertices[faces[is_hit], 0].T).sum(0) / areas.sum(0)
    first_above = np.clip(np.ceil(height - OFFSET[0]), 0, side).astype(np.int64)
    steps = np.zeros((side + 1, side * side), np.int64)
    np.add.at(steps, (first_above, column[is_hit]), np.where(positive[0, is_hit], 1, -1))
    is_inside: np.ndarray = (steps[:side].cumsum(0) != 0).reshape(side, side, side)
    return is_inside


def _candidates(
    vertices: np.ndarray, faces: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Faces and flat columns, (n, 3) and (n,), of which the bounding box is hit by the ray."""
    plane = vertices[faces, 1:] - OFFSET[1:]
    first = np.clip(np.ceil(plane.min(1)), 0, side).astype(np.int64)
    num = np.clip(np.floor(plane.max(1)) + 1, 0, side).astype(np.int64) - first
    num = np.maximum(num, 0)
    num_columns = num.prod(1)
    face = np.repeat(np.arange(len(faces)), num_columns)
    starts = np.cumsum(num_columns) - num_columns
    place = np.arange(len(face)) - starts[face]
    row, offset = np.divmod(place, num[face, 1])
    return faces[face], (first[face, 0] + row) * side + first[face, 1] + offset


def _beside_edge(
    vertices: np.ndarray, faces: np.ndarray, ray: np.ndarray, pair: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Twice the signed area between an edge and its ray, and whether it counts as positive.

    The edge's ends are taken in the order of their numbers, so that of the two faces that
    share it exactly one finds the ray on its positive side: no ray slips between them.
    """
    start, end = faces[:, pair[0]], faces[:, pair[1]]
    a, b = vertices[np.minimum(start, end), 1:], vertices[np.maximum(start, end), 1:]
    along, across = b - a, ray - a
    area = along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0]
    return np.where(start < end, area, -area), (area > 0) ^ (start > end)
