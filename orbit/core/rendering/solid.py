"""Grey pictures of one object that turns in space, on black; a generated plane.

They are drawn like those of `render`, but faster, without colour and alpha.

The generated plane's nose points to +x, its fin to +y, its starboard wing to +z. Wings differ in
colour, and only one carries an engine, so that no rotation looks like another.

Orientations use only sums, products and roots of single numbers, so that results are the same on
every machine.
"""

from functools import cache, lru_cache
from typing import Any

import numpy as np

from orbit.core.rendering.meshes import Mesh, asymmetric_pot, is_closed, make_mesh
from orbit.core.rendering.rasteriser import find_samples, unpack_mesh, views_at_once
from orbit.core.store.facts import Solid


def render_grey(
    mesh: Mesh,
    rotations: np.ndarray,
    size: int,
    is_closed: bool = False,
    supersampling: int = 2,
) -> np.ndarray:
    """Pictures (N, 1, size, size) uint8 under rotation matrices (N, 3, 3), faces in the grey of
    their mean colour.

    Closed surfaces (see `meshes.is_closed`) are drawn faster if `is_closed` says so.
    """
    fine = size * supersampling
    grey = mesh.colours.mean(1) * np.float32(255 / supersampling**2)
    pictures = np.empty((len(rotations), 1, size, size), np.uint8)
    step = views_at_once(mesh, fine)
    for first in range(0, len(rotations), step):
        turns = rotations[first : first + step].astype(np.float32)
        seen = find_samples(mesh, turns, fine, is_smooth=True, is_one_sided=is_closed)
        layer = np.zeros(len(turns) * fine * fine, np.float32)
        layer[seen.place] = np.take(grey, seen.face) * seen.brightness
        samples = layer.reshape(len(turns), size, supersampling, size, supersampling)
        total = np.zeros((len(turns), size, size), np.float32)
        for row in range(supersampling):
            for column in range(supersampling):
                total += samples[:, :, row, :, column]
        pictures[first : first + step, 0] = np.rint(total)
    return pictures


WHITE, BELLY, GLASS = (0.95, 0.95, 0.93), (0.55, 0.60, 0.68), (0.10, 0.13, 0.20)
PORT, STARBOARD, FIN = (0.93, 0.55, 0.12), (0.20, 0.45, 0.85), (0.85, 0.15, 0.18)
TAILPLANE, ENGINE, STRIPE = (0.80, 0.80, 0.82), (0.25, 0.62, 0.36), (0.75, 0.12, 0.20)

FUSELAGE = np.array(
    [  # x, radius, height of the axis
        (1.00, 0.000, -0.02),
        (0.98, 0.040, -0.02),
        (0.93, 0.075, -0.01),
        (0.85, 0.105, 0.00),
        (0.74, 0.122, 0.00),
        (0.60, 0.127, 0.00),
        (0.20, 0.127, 0.00),
        (-0.20, 0.127, 0.00),
        (-0.45, 0.122, 0.00),
        (-0.65, 0.100, 0.02),
        (-0.82, 0.066, 0.05),
        (-0.96, 0.030, 0.08),
        (-1.00, 0.000, 0.09),
    ]
)
NACELLE = np.array([(0.36, 0.05), (0.38, 0.07), (0.30, 0.08), (0.14, 0.07), (0.04, 0.035)])

Part = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Vertices, faces and face colours."""


@lru_cache(maxsize=1)
def asymmetric_plane(num_sides: int = 28) -> Mesh:
    """The toy airliner as a mesh of about 1,000 triangles with coloured faces."""
    root, tip = (0.30, -0.22), (-0.22, -0.40)
    parts = [
        _fuselage(num_sides),
        _plate(root, tip, (0.08, -0.05), (0.95, 0.07), 0.030, STARBOARD),
        _plate(root, tip, (-0.08, -0.05), (-0.95, 0.07), 0.030, PORT),
        _plate((-0.68, -0.90), (-0.88, -1.00), (0.04, 0.06), (0.36, 0.09), 0.016, TAILPLANE),
        _plate((-0.68, -0.90), (-0.88, -1.00), (-0.04, 0.06), (-0.36, 0.09), 0.016, TAILPLANE),
        _upright(_plate((-0.58, -0.92), (-0.88, -1.04), (0.08, 0.0), (0.46, 0.0), 0.018, FIN)),
        _engine(num_sides // 2),
    ]
    starts = np.cumsum([0, *(len(vertices) for vertices, _, _ in parts)])
    return make_mesh(
        np.concatenate([vertices for vertices, _, _ in parts]),
        np.concatenate(
            [faces + start for (_, faces, _), start in zip(parts, starts, strict=False)]
        ),
        np.concatenate([colours for _, _, colours in parts]),
    )


def _fuselage(num_sides: int) -> Part:
    x, radius, height = FUSELAGE.T
    vertices, faces = _lathe(x, radius, height, num_sides)
    middle = vertices[faces].mean(1)
    colours = np.tile(WHITE, (len(faces), 1))
    above = middle[:, 1] - np.interp(middle[:, 0], x[::-1], height[::-1])
    colours[above < -0.03] = BELLY
    colours[(abs(above) < 0.035) & (middle[:, 0] < 0.78)] = STRIPE
    colours[(above > 0.02) & (middle[:, 0] > 0.78) & (middle[:, 0] < 0.92)] = GLASS
    return vertices, faces, colours


def _engine(num_sides: int) -> Part:
    """One nacelle, below the starboard wing."""
    x, radius = NACELLE.T
    vertices, faces = _lathe(x, radius, np.zeros(len(x)), num_sides)
    vertices = vertices + np.array((-0.02, -0.10, 0.40))
    colours = np.tile(ENGINE, (len(faces), 1))
    colours[: 2 * num_sides] = GLASS
    return vertices, faces, colours


def _lathe(
    x: np.ndarray, radius: np.ndarray, height: np.ndarray, num_sides: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rings about the x axis joined to a closed surface."""
    angle = 2 * np.pi * np.arange(num_sides) / num_sides
    y = height[:, None] + radius[:, None] * np.cos(angle)
    z = radius[:, None] * np.sin(angle)
    rings = np.stack([np.broadcast_to(x[:, None], y.shape), y, z], axis=2).reshape(-1, 3)
    first = np.arange(num_sides)
    second = (first + 1) % num_sides
    faces = []
    for ring in range(len(x) - 1):
        near, far = ring * num_sides, (ring + 1) * num_sides
        faces += [np.stack([near + first, near + second, far + first], 1)]
        faces += [np.stack([far + first, near + second, far + second], 1)]
    return rings, np.concatenate(faces)


def _plate(
    root: tuple[float, float],
    tip: tuple[float, float],
    start: tuple[float, float],
    end: tuple[float, float],
    thickness: float,
    colour: tuple[float, float, float],
) -> Part:
    """A wing: front and rear edge x at root and tip, (z, y) of root and tip, half of it thick."""
    sections = []
    for (front, rear), (z, y), thick in ((root, start, thickness), (tip, end, thickness / 2)):
        ridge = front + 0.3 * (rear - front)
        sections.append([(front, y, z), (ridge, y + thick, z), (rear, y, z), (ridge, y - thick, z)])
    vertices = np.array(sections).reshape(8, 3)
    sides = [(k, (k + 1) % 4, 4 + (k + 1) % 4, 4 + k) for k in range(4)]
    quads = np.array([*sides, (4, 5, 6, 7), (3, 2, 1, 0)])
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    # Separate vertices for each face: a plate has sharp edges.
    return (
        vertices[faces.reshape(-1)],
        np.arange(faces.size).reshape(-1, 3),
        np.tile(colour, (len(faces), 1)),
    )


def _upright(part: Part) -> Part:
    """A fin: a wing turned upright."""
    vertices, faces, colours = part
    return vertices[:, [0, 2, 1]], faces, colours


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
