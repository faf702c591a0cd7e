"""The arm of `reacher_planar`, simulated and drawn here without a library or display.

Lengths, masses, armature, damping, gears and the integrator (Runge-Kutta of order 4, two steps of
0.01 s an action) are those of MuJoCo's model file. One thing differs: MuJoCo's soft limit slows the
second joint down, and this limit stops it at once.

It uses only sums, products and quotients of float64, so that results are the same on every machine,
and the mirrored arm moves like the mirror image bit for bit.

Links are capsules, joints and goal discs, painted one over the other with smooth outlines, in
the colours of MuJoCo's Reacher. The lattice of pixels has its centre at the first joint and
distances are sums and products of single numbers, so that the picture of a turned or mirrored
arm is the turned or mirrored picture bit for bit, at odd and even sizes.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np

from data_prep.settings.worlds import ReacherPlanarWorldConfig
from data_prep.worlds.reacher import MAX_ANGLE, Reacher, sine_cosine
from orbit.core.plugins import Kind

STEP_S = 0.01
NUM_STEPS_AN_ACTION = 2
LINK_LENGTH, LINK_RADIUS = 0.1, 0.01
"""Length and radius of both links, in metres."""
TIP_DISTANCE, TIP_RADIUS = 0.11, 0.01
"""Distance of the fingertip's centre from the second joint, and the fingertip's radius."""
DENSITY = 1000.0
ARMATURE, DAMPING, GEAR = 1.0, 1.0, 200.0
"""Rotor inertia in kg m^2, N m s, and N m at an action of 1."""
MAX_BEND = 3.0
"""How far the second joint can turn either way, in radians."""


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
    """The effect of an action (N, 2) within [-1, 1]: how far the first joint turned, (N,) in
    radians, and the motion after it."""
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
    """Angular accelerations of both joints, from M a = torque - Coriolis and centrifugal terms -
    damping."""
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
    """The motion, with the second joint at rest if it is at a limit."""
    is_beyond = np.abs(motion.bend) > MAX_BEND
    return Motion(
        np.clip(motion.bend, -MAX_BEND, MAX_BEND),
        motion.first_speed,
        np.where(is_beyond & (motion.bend * motion.second_speed > 0), 0.0, motion.second_speed),
    )


def _capsule(length: float, radius: float) -> Inertia:
    """The inertia of a cylinder with half balls at its ends, from the joint outwards."""
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
    """What a distance of the centre adds to the moment."""
    return part.mass * distance * distance


LINK = _capsule(LINK_LENGTH, LINK_RADIUS)
FOREARM = _joined(LINK, _ball(TIP_DISTANCE, TIP_RADIUS))


HALF_VIEW = 0.34
"""Distance from the centre of the picture to its sides, in metres."""
WALL_PLACE, WALL_RADIUS = 0.3, 0.02
ROOT_RADIUS, GOAL_RADIUS = 0.011, 0.012
"""In metres; the goal is a third larger than MuJoCo's, so that it is visible on few pixels."""
GROUND, WALL, ROOT = (92, 92, 96), (150, 66, 100), (214, 95, 143)
LINK_COLOUR, TIP_COLOUR, GOAL_COLOUR = (18, 104, 150), (26, 196, 146), (255, 74, 58)
RIM_LIGHT = 0.62
"""Brightness at the rim of a rounded body; along its ridge it is 1."""


class Body(NamedTuple):
    """A capsule from `start` to `end`, (N, 2) points in metres, y upwards; a disc if they are
    equal."""

    start: np.ndarray
    end: np.ndarray
    radius: float
    colour: tuple[int, int, int]


def paint_arm(direction: np.ndarray, bend: np.ndarray, goal: np.ndarray, size: int) -> np.ndarray:
    """Pictures (N, 3, size, size) uint8 of arms and their goals.

    `direction` (N, 2) is the unit vector along the first link, `bend` (N,) the angle in radians
    from it to the second, `goal` (N, 2) a point in metres, all float64.
    """
    pictures = np.repeat(_arena(size)[None], len(bend), axis=0)
    for body in arm_bodies(direction, bend, goal):
        paint(pictures, body)
    return pictures


def arm_bodies(direction: np.ndarray, bend: np.ndarray, goal: np.ndarray) -> list[Body]:
    """The bodies to paint, from the lowest to the topmost."""
    sine, cosine = sine_cosine(bend)
    x, y = direction.T
    forearm = np.stack([x * cosine - y * sine, y * cosine + x * sine], -1)
    root = np.zeros_like(direction)
    elbow = LINK_LENGTH * direction
    tip = elbow + TIP_DISTANCE * forearm
    return [
        Body(goal, goal, GOAL_RADIUS, GOAL_COLOUR),
        Body(root, elbow, LINK_RADIUS, LINK_COLOUR),
        Body(elbow, elbow + LINK_LENGTH * forearm, LINK_RADIUS, LINK_COLOUR),
        Body(tip, tip, TIP_RADIUS, TIP_COLOUR),
        Body(root, root, ROOT_RADIUS, ROOT),
    ]


def paint(pictures: np.ndarray, body: Body) -> None:
    """Paint one body over each picture (N, 3, size, size), in place."""
    size = pictures.shape[-1]
    scale, middle = size / (2 * HALF_VIEW), (size - 1) / 2
    start, end, radius = body.start * scale, body.end * scale, body.radius * scale
    reach = radius + 0.5
    side = min(size, int(np.abs(end - start).max(initial=0.0) + 2 * reach) + 2)
    low = np.minimum(start, end) - reach
    high = np.maximum(start, end) + reach
    left = np.clip(np.floor(low[:, 0] + middle), 0, size - side).astype(np.int64)
    top = np.clip(np.floor(middle - high[:, 1]), 0, size - side).astype(np.int64)
    columns, rows = left[:, None] + np.arange(side), top[:, None] + np.arange(side)
    x, y = columns - middle, middle - rows
    distance = _distance(x[:, None, :], y[:, :, None], start, end)
    view, row, column = np.nonzero(distance < reach)
    inside = distance[view, row, column]
    covered = np.minimum(reach - inside, 1.0)
    place = rows[view, row] * size + columns[view, column]
    flat = pictures.reshape(len(pictures), 3, size * size)
    shade = _shade(inside, radius)
    for channel, value in enumerate(body.colour):
        before = flat[view, channel, place]
        flat[view, channel, place] = np.rint(before + covered * (value * shade - before))


def _distance(x: np.ndarray, y: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Distances of points, x (N, 1, P) and y (N, P, 1), from segments (N, 2): (N, P, P)."""
    along = end - start
    dx, dy = x - start[:, :1, None], y - start[:, 1:, None]
    ax, ay = along[:, :1, None], along[:, 1:, None]
    length = ax * ax + ay * ay
    share = (dx * ax + dy * ay) / np.where(length > 0, length, 1.0)
    share = np.clip(share, 0.0, 1.0)
    dx, dy = dx - share * ax, dy - share * ay
    distance: np.ndarray = np.sqrt(dx * dx + dy * dy)
    return distance


def _shade(distance: np.ndarray, radius: float) -> np.ndarray:
    """Brightness of a round body that is lit from the eye, by the distance from its ridge."""
    ratio = np.minimum(distance / radius, 1.0)
    return np.asarray(RIM_LIGHT + (1 - RIM_LIGHT) * np.sqrt(1 - ratio * ratio))


@cache
def _arena(size: int) -> np.ndarray:
    """Ground and walls, (3, size, size) uint8. All walls have one common outline."""
    scale, middle = size / (2 * HALF_VIEW), (size - 1) / 2
    place = np.arange(size) - middle
    x, y = np.broadcast_to(place, (4, 1, size)), np.broadcast_to(-place[:, None], (4, size, 1))
    corners = WALL_PLACE * scale * np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    distance = _distance(x, y, corners, np.roll(corners, 1, axis=0)).min(0)
    radius = WALL_RADIUS * scale
    covered = np.clip(radius + 0.5 - distance, 0.0, 1.0)
    ground, wall = (np.array(colour)[:, None, None] for colour in (GROUND, WALL))
    mixed = ground + covered * (wall * _shade(distance, radius) - ground)
    arena: np.ndarray = np.rint(mixed).astype(np.uint8)
    return arena


class PlanarArm:
    """See `data_prep.worlds.reacher.Arm`. Turns and mirrors commute with it bit for bit."""

    tolerance = 0.0
    can_render = True

    def check_rendering(self) -> None:
        """Pictures need nothing."""

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


WORLD = Kind(
    "reacher_planar",
    ReacherPlanarWorldConfig,
    lambda config, actions: Reacher(
        config.name, PlanarArm(), config.size, actions, config.num_frames, config.frame_gap
    ),
)
