"""A planar arm of two links under torques: the dynamics of MuJoCo's Reacher, without MuJoCo.

Lengths, masses, armature, damping, gears and the integrator (Runge-Kutta of order 4, two steps
of 0.01 s an action) are those of its model file. One thing differs: where MuJoCo's soft limit
slows the second joint down, this one stops it at once.

All is sums, products and quotients of float64, so that results are the same on every machine,
and the mirrored arm moves as the mirror image bit for bit.
"""

import math
from typing import NamedTuple

import numpy as np

from data_prep.worlds.sine_cosine import sine_cosine

STEP_S = 0.01
NUM_STEPS_AN_ACTION = 2
LINK_LENGTH, LINK_RADIUS = 0.1, 0.01
"""Of both links, in metres."""
TIP_DISTANCE, TIP_RADIUS = 0.11, 0.01
"""Of the fingertip's centre from the second joint, and of the ball that it is."""
DENSITY = 1000.0
ARMATURE, DAMPING, GEAR = 1.0, 1.0, 200.0
"""Rotor inertia in kg m^2, N m s, and N m at an action of 1."""
MAX_BEND = 3.0
"""Radians that the second joint can turn either way."""


class Inertia(NamedTuple):
    """Mass in kg, its centre's distance from the joint in m, moment about the centre in kg m^2."""

    mass: float
    distance: float
    moment: float


class Motion(NamedTuple):
    """Angle of the second joint and velocities of both, radians and radians per second, (N,)."""

    bend: np.ndarray
    first_speed: np.ndarray
    second_speed: np.ndarray


def advance(motion: Motion, torques: np.ndarray) -> tuple[np.ndarray, Motion]:
    """What an action (N, 2) within [-1, 1] makes of a motion: how far the first joint turned, (N,)
    in radians, and the motion after it."""
    turned = np.zeros_like(motion.bend)
    for _ in range(NUM_STEPS_AN_ACTION):
        angle, motion = _runge_kutta(motion, GEAR * torques)
        turned = turned + angle
        motion = _stopped(motion)
    return turned, motion


def _runge_kutta(motion: Motion, torques: np.ndarray) -> tuple[np.ndarray, Motion]:
    speeds, accelerations, weights = [], [], (1, 2, 2, 1)
    at = motion
    for following in (STEP_S / 2, STEP_S / 2, STEP_S, 0.0):
        first, second = _accelerations(at, torques)
        speeds.append((at.first_speed, at.second_speed))
        accelerations.append((first, second))
        at = Motion(
            motion.bend + following * at.second_speed,
            motion.first_speed + following * first,
            motion.second_speed + following * second,
        )

    def mean(slopes: list[tuple[np.ndarray, np.ndarray]], joint: int) -> np.ndarray:
        total = sum(w * slope[joint] for w, slope in zip(weights, slopes, strict=True))
        return np.asarray(STEP_S / 6 * total)

    after = Motion(
        motion.bend + mean(speeds, 1),
        motion.first_speed + mean(accelerations, 0),
        motion.second_speed + mean(accelerations, 1),
    )
    return mean(speeds, 0), after


def _accelerations(motion: Motion, torques: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of both joints, from M a = torque - Coriolis and centrifugal terms - damping."""
    near, far = LINK, FOREARM
    sine, cosine = sine_cosine(motion.bend)
    coupling = far.mass * LINK_LENGTH * far.distance
    second = far.moment + _moved(far, far.distance)
    own = ARMATURE + near.moment + _moved(near, near.distance) + _moved(far, LINK_LENGTH)
    m_11 = own + second + 2 * coupling * cosine
    m_12 = second + coupling * cosine
    m_22 = ARMATURE + second
    w_1, w_2 = motion.first_speed, motion.second_speed
    bias = coupling * sine
    force_1 = torques[:, 0] + bias * (2 * w_1 + w_2) * w_2 - DAMPING * w_1
    force_2 = torques[:, 1] - bias * w_1 * w_1 - DAMPING * w_2
    determinant = m_11 * m_22 - m_12 * m_12
    return (
        (m_22 * force_1 - m_12 * force_2) / determinant,
        (m_11 * force_2 - m_12 * force_1) / determinant,
    )


def _stopped(motion: Motion) -> Motion:
    """The second joint comes to rest at its limits."""
    is_beyond = np.abs(motion.bend) > MAX_BEND
    return Motion(
        np.clip(motion.bend, -MAX_BEND, MAX_BEND),
        motion.first_speed,
        np.where(is_beyond & (motion.bend * motion.second_speed > 0), 0.0, motion.second_speed),
    )


def _capsule(length: float, radius: float) -> Inertia:
    """A cylinder with half balls at its ends, from the joint outwards."""
    across, along = radius * radius, length * length
    cylinder, ball = DENSITY * math.pi * across * length, _ball_mass(radius)
    of_cylinder = cylinder * (3 * across + along) / 12
    of_ball = ball * (2 / 5 * across + along / 4 + 3 / 8 * length * radius)
    return Inertia(cylinder + ball, length / 2, of_cylinder + of_ball)


def _ball(distance: float, radius: float) -> Inertia:
    return Inertia(_ball_mass(radius), distance, 2 / 5 * _ball_mass(radius) * radius * radius)


def _ball_mass(radius: float) -> float:
    return DENSITY * 4 / 3 * math.pi * radius * radius * radius


def _joined(first: Inertia, second: Inertia) -> Inertia:
    mass = first.mass + second.mass
    distance = (first.mass * first.distance + second.mass * second.distance) / mass
    moment = sum(part.moment + _moved(part, part.distance - distance) for part in (first, second))
    return Inertia(mass, distance, moment)


def _moved(part: Inertia, distance: float) -> float:
    """What a distance from its centre adds to the moment."""
    return part.mass * distance * distance


LINK = _capsule(LINK_LENGTH, LINK_RADIUS)
FOREARM = _joined(LINK, _ball(TIP_DISTANCE, TIP_RADIUS))
