"""The arm of `reacher_planar`: simulated and painted here, with no library and no display."""

import numpy as np

from data_prep.worlds.planar_dynamics import Motion, advance
from data_prep.worlds.planar_pictures import paint_arm
from data_prep.worlds.sine_cosine import MAX_ANGLE, sine_cosine


class PlanarArm:
    """See `data_prep.worlds.reacher.Arm`. Turns and mirrors commute with it bit for bit."""

    tolerance = 0.0
    can_render = True

    def advance(self, arms: np.ndarray, torques: np.ndarray) -> np.ndarray:
        x, y, bend, first_speed, second_speed = arms[:, :5].T
        turned, motion = advance(Motion(bend, first_speed, second_speed), torques)
        sine, cosine = sine_cosine(np.clip(turned, -MAX_ANGLE, MAX_ANGLE))
        x, y = x * cosine - y * sine, y * cosine + x * sine
        length = np.sqrt(x * x + y * y)
        return np.stack([x / length, y / length, *motion], -1)

    def paint(
        self, direction: np.ndarray, bend: np.ndarray, goal: np.ndarray, size: int
    ) -> np.ndarray:
        return paint_arm(direction, bend, goal, size)
