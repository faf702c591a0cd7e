"""One object that turns in space: rotation matrices, and pictures of it in any orientation.

It uses only sums, products and roots of single numbers, so that results are the same on every
machine.
"""

from functools import cache
from typing import Any

import numpy as np

from orbit.core.rendering.meshes import Mesh, asymmetric_pot, is_closed
from orbit.core.rendering.rasteriser import unpack_mesh
from orbit.core.rendering.solid import render_grey
from orbit.core.store.facts import Solid


def to_matrices(quaternions: np.ndarray) -> np.ndarray:
    """Rotation matrices of quaternions (N, 4), (w, x, y, z), of any length."""
    q = np.asarray(quaternions, np.float64)
    w, x, y, z = (q / np.sqrt((q * q).sum(-1, keepdims=True))).T
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, -1) for row in rows], -2)


def product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Matrix products, written out, because the rounding of a library's may depend on the batch
    size."""
    parts = [first[..., k, None] * second[..., k, None, :] for k in range(3)]
    return np.asarray(parts[0] + parts[1] + parts[2])


def orthogonal(matrices: np.ndarray) -> np.ndarray:
    """Rotations nearest to matrices that are rotations up to rounding: M (3 - M^T M) / 2."""
    square = product(matrices.swapaxes(-1, -2), matrices)
    return product(matrices, 1.5 * np.eye(3) - 0.5 * square)


def as_matrices(states: np.ndarray) -> np.ndarray:
    """Orientations (N, 3, 3) float64 of states (N, 9), row by row."""
    return states.astype(np.float64).reshape(len(states), 3, 3)


def as_states(matrices: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
    """States (N, 9) of orientations (N, 3, 3)."""
    return matrices.reshape(len(matrices), 9).astype(dtype)


def turned(states: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """States (N, 9) after the rotations of quaternions (N, 4)."""
    after = orthogonal(product(to_matrices(actions), as_matrices(states)))
    return as_states(after, states.dtype)


def draw_solid(solid: Solid, states: np.ndarray) -> np.ndarray:
    """Pictures (N, 1, size, size) uint8 of states (N, 9)."""
    mesh, closed = mesh_of(solid.mesh)
    return render_grey(mesh, as_matrices(states), solid.size, closed)


@cache
def mesh_of(text: str | None) -> tuple[Mesh, bool]:
    """The mesh of a packed text, or the generated pot for None, and whether it is closed.

    Raises ValueError for a text that is not a mesh.
    """
    mesh = asymmetric_pot() if text is None else unpack_mesh(text)
    return mesh, is_closed(mesh)
