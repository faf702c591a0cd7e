"""Pictures of a planar arm from straight above, without a display.

Links are capsules, joints and goal discs, painted one over the other with smooth outlines, in
the colours of MuJoCo's Reacher. The lattice of pixels has its centre at the first joint and
distances are sums and products of single numbers, so that the picture of a turned or mirrored
arm is the turned or mirrored picture bit for bit, at odd and even sizes.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from data_prep.worlds.planar_dynamics import LINK_LENGTH, LINK_RADIUS, TIP_DISTANCE, TIP_RADIUS
from data_prep.worlds.sine_cosine import sine_cosine

HALF_VIEW = 0.34
"""Metres from the centre of the picture to its sides."""
WALL_PLACE, WALL_RADIUS = 0.3, 0.02
ROOT_RADIUS, GOAL_RADIUS = 0.011, 0.012
"""The goal is a third larger than MuJoCo's, so that few pixels show it."""
GROUND, WALL, ROOT = (92, 92, 96), (150, 66, 100), (214, 95, 143)
LINK, TIP, GOAL = (18, 104, 150), (26, 196, 146), (255, 74, 58)
RIM_LIGHT = 0.62
"""Brightness at the rim of a rounded body, which is 1 along its ridge."""


class Body(NamedTuple):
    """A capsule from `start` to `end`, (N, 2) places in metres, y upwards; a disc where these
    are the same."""

    start: np.ndarray
    end: np.ndarray
    radius: float
    colour: tuple[int, int, int]


def paint_arm(direction: np.ndarray, bend: np.ndarray, goal: np.ndarray, size: int) -> np.ndarray:
    """Pictures (N, 3, size, size) uint8 of arms and their goals.

    `direction` (N, 2) is the unit vector along the first link, `bend` (N,) the angle in radians
    from it to the second, `goal` (N, 2) a place in metres, all float64.
    """
    pictures = np.repeat(_arena(size)[None], len(bend), axis=0)
    for body in arm_bodies(direction, bend, goal):
        paint(pictures, body)
    return pictures


def arm_bodies(direction: np.ndarray, bend: np.ndarray, goal: np.ndarray) -> list[Body]:
    """What is painted, from the lowest to the topmost."""
    sine, cosine = sine_cosine(bend)
    x, y = direction.T
    forearm = np.stack([x * cosine - y * sine, y * cosine + x * sine], -1)
    root = np.zeros_like(direction)
    elbow = LINK_LENGTH * direction
    tip = elbow + TIP_DISTANCE * forearm
    return [
        Body(goal, goal, GOAL_RADIUS, GOAL),
        Body(root, elbow, LINK_RADIUS, LINK),
        Body(elbow, elbow + LINK_LENGTH * forearm, LINK_RADIUS, LINK),
        Body(tip, tip, TIP_RADIUS, TIP),
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
    """Ground and walls (3, size, size) uint8. The walls are one body, with one outline."""
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
