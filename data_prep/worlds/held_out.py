"""Orientations that training does not show: a cap of directions of one of the object's axes."""

import math

import numpy as np

from data_prep.settings.continuous_worlds import HeldOutConfig


def is_held_out(states: np.ndarray, held_out: HeldOutConfig) -> np.ndarray:
    """Which rotation matrices (N, 9) turn the axis into the cap, (N,) bool."""
    matrices = states.reshape(len(states), 3, 3).astype(np.float64)
    axis, towards = (np.array(v) / math.hypot(*v) for v in (held_out.axis, held_out.towards))
    cosine = np.zeros(len(matrices))
    for row in range(3):
        for column in range(3):
            cosine += towards[row] * matrices[:, row, column] * axis[column]
    return np.asarray(cosine >= math.cos(math.radians(held_out.degrees)))
