"""States, draws and symmetries of a reacher: an arm of two links in the plane, and a goal.

A state holds the unit vector along the first link, the angle from it to the second, the
velocities of both joints, the goal, and the arm's pose before the last action. A vector in place
of the first joint's angle lets quarter turns and mirrors act without rounding: they move signs
and places of numbers.
"""

import numpy as np
import torch

from data_prep.worlds.draws import DrawKey, uniforms
from pipeline.groups import ActionComponent
from pipeline.groups.point_matrices import determinants, square_matrices

GROUP = "d4"
STATE_SIZE = 10
STATE_MEANING = (
    "cosine and sine of the first joint's angle, the second joint's angle (radians), velocities of"
    " both (radians/s), goal x and y (metres); cosine, sine and angle before the last action"
)
DIRECTION, BEND, SPEEDS, GOAL = slice(0, 2), 2, slice(3, 5), slice(5, 7)
PREVIOUS_DIRECTION, PREVIOUS_BEND = slice(7, 9), 9
VECTORS = (DIRECTION, GOAL, PREVIOUS_DIRECTION)
SCALARS = (BEND, 3, 4, PREVIOUS_BEND)
"""What turns, and what turns leave alone but mirrors reverse."""

TORQUES = tuple(
    ActionComponent(f"torque_{joint}", f"torque on the {name} joint", "full torque", -1.0, 1.0)
    for joint, name in enumerate(("first", "second"))
)
POSITIVE_SECOND_TORQUE = "positive_second_torque"

GOAL_PLACE = (0.2, 0.2)
"""In metres; the arm reaches 0.22."""
ANGLE_SPREAD, SPEED_SPREAD = 0.1, 0.005
"""First angles and velocities are uniform within these, either way."""
NUM_WARM_UP_STEPS = 50
RESET_STREAM, ACTION_STREAM, WARM_UP_STREAM = 0, 1, 2


def draw_first_motion(seed: int, split_number: int, episodes: np.ndarray) -> np.ndarray:
    """Angles and velocities of both joints before the warm-up, (N, 4) float64."""
    drawn = uniforms(DrawKey(seed, split_number, RESET_STREAM), episodes, 4)
    spread = np.array([ANGLE_SPREAD, ANGLE_SPREAD, SPEED_SPREAD, SPEED_SPREAD])
    return np.asarray(spread * (2 * drawn - 1))


def draw_torques(key: DrawKey, episodes: np.ndarray, limited: bool) -> np.ndarray:
    """Uniform torques (N, 2) float32; `limited` ones never turn the second joint backwards."""
    torques = 2 * uniforms(key, episodes, len(TORQUES)) - 1
    if limited:
        torques[:, 1] = np.abs(torques[:, 1])
    return torques.astype(np.float32)


def is_allowed(torques: np.ndarray) -> np.ndarray:
    """Which torques (N, 2) a limited policy may draw, (N,) bool."""
    return np.asarray(torques[:, 1] >= 0)


def act_on_states(states: np.ndarray, g: torch.Tensor) -> np.ndarray:
    """States (N, 10) after turns and mirrors of the plane, elements of d4 (N,): the arm and its
    goal turn together."""
    matrices = square_matrices().numpy().astype(states.dtype)[g.numpy()]
    moved = states * 1
    for part in VECTORS:
        x, y = states[:, part].T
        moved[:, part] = matrices[:, :, 0] * x[:, None] + matrices[:, :, 1] * y[:, None]
    for place in SCALARS:
        moved[:, place] = states[:, place] * _signs(g)
    return np.asarray(moved)


def act_on_torques(torques: np.ndarray, g: torch.Tensor) -> np.ndarray:
    """Torques (N, 2) after elements of d4 (N,): turns leave them alone, mirrors reverse them."""
    return np.asarray(torques * _signs(g)[:, None].astype(torques.dtype))


def _signs(g: torch.Tensor) -> np.ndarray:
    """+1 for turns, -1 for mirrors."""
    return np.asarray(determinants(square_matrices()).numpy()[g.numpy()])
