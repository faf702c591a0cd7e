"""Smooth random fields and small turns, drawn to vary shapes."""

import numpy as np


def draw_waves(
    rng: np.random.Generator,
    points: np.ndarray,
    num_fields: int,
    num_waves: int,
    frequencies: tuple[float, float],
) -> np.ndarray:
    """Sums of plane waves at points (3, n): fields (f, n) between -1 and 1, of the points' type.

    Directions are uniform, frequencies uniform in this range, in radians a unit. The
    values at a point do not depend on the other points.
    """
    directions = rng.standard_normal((num_waves, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions *= rng.uniform(*frequencies, (num_waves, 1))
    phases = rng.uniform(0, 2 * np.pi, (num_waves, 1))
    amplitudes = rng.uniform(-1, 1, (num_fields, num_waves)) / num_waves
    directions, phases, amplitudes = (
        array.astype(points.dtype) for array in (directions, phases, amplitudes)
    )
    waves = np.sin(np.einsum("kj,jn->kn", directions, points) + phases)
    fields: np.ndarray = np.einsum("fk,kn->fn", amplitudes, waves)
    return fields


def draw_turn(rng: np.random.Generator, std: float) -> np.ndarray:
    """A rotation matrix (3, 3) about a uniform axis; its rotation vector has this std in radians.

    The vector's components are cut at two standard deviations.
    """
    vector = std * np.clip(rng.standard_normal(3), -2, 2)
    angle = np.linalg.norm(vector)
    if angle == 0:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn: np.ndarray = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    return turn
