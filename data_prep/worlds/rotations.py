"""Rotation matrices (N, 3, 3) from quaternions and random numbers; pure functions in float64.

All is sums, products and roots of single numbers, so that results are the same on every machine.
"""

import math

import numpy as np

from data_prep.worlds.draws import DrawKey, uniforms
from data_prep.worlds.sine_cosine import sine_cosine


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
    """Matrix products, written out: a library's may round by the size of the batch."""
    parts = [first[..., k, None] * second[..., k, None, :] for k in range(3)]
    return np.asarray(parts[0] + parts[1] + parts[2])


def orthogonal(matrices: np.ndarray) -> np.ndarray:
    """Rotations nearest to matrices that are rotations up to rounding: M (3 - M^T M) / 2."""
    square = product(matrices.swapaxes(-1, -2), matrices)
    return product(matrices, 1.5 * np.eye(3) - 0.5 * square)


def conjugated(quaternions: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Quaternions of the rotations g a g^-1, float64 (N, 4), for a (N, 4) and g (N, 4).

    The angle stays, so the real part of a stays bit for bit, and with it the choice of sign;
    g turns the axis.
    """
    a = np.asarray(quaternions, np.float64)
    axis = product(to_matrices(by), a[:, 1:, None])[..., 0]
    return np.concatenate([a[:, :1], axis], -1)


def draw_rotations(key: DrawKey, episodes: np.ndarray) -> np.ndarray:
    """Uniform (Haar) quaternions (N, 4) with positive real part (Shoemake, Graphics Gems III)."""
    share, first, second = uniforms(key, episodes, 3).T
    sine_1, cosine_1 = sine_cosine(2 * math.pi * first)
    sine_2, cosine_2 = sine_cosine(2 * math.pi * second)
    inner, outer = np.sqrt(1 - share), np.sqrt(share)
    q = np.stack([outer * cosine_2, inner * sine_1, inner * cosine_1, outer * sine_2], -1)
    return np.where(q[:, :1] < 0, -q, q)
