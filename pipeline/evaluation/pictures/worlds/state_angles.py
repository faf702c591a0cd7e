"""The angle in a state that turns with the group, by which pictures colour latents."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data_prep.store.manifest import Manifest
from data_prep.worlds.grid import NUM_OBJECTS, SIDE

ARMS, BOARDS = ("reacher", "reacher_planar"), ("shapes_2d", "blocks_3d", "rush_hour")


@dataclass(frozen=True)
class StateAngles:
    """`of` takes states (N, S) to degrees (N, objects) from -180 to 180, counter-clockwise from the
    right and NaN where there is no angle; `what` says in words what it is the angle of."""

    of: Callable[[np.ndarray], np.ndarray]
    what: str


def state_angles(manifest: Manifest) -> StateAngles | None:
    """What is known of the states of a dataset; None for worlds without such an angle."""
    world = manifest.generator.get("world")
    if "state" not in manifest.columns:
        return None
    if world in ARMS:
        return StateAngles(arm_angles, "first link")
    return StateAngles(board_angles, "cell") if world in BOARDS else None


def arm_angles(states: np.ndarray) -> np.ndarray:
    """Of the first link, whose cosine and sine come first in a state."""
    return np.asarray(np.degrees(np.arctan2(states[:, 1:2], states[:, :1])))


def board_angles(states: np.ndarray) -> np.ndarray:
    """Of each object's cell about the middle one, which has no angle.

    Row and column come first among what a state knows of an object.
    """
    num = states.shape[1] // NUM_OBJECTS * NUM_OBJECTS
    cells = states[:, :num].reshape(len(states), NUM_OBJECTS, -1)[..., :2]
    right, up = cells[..., 1] - SIDE // 2, SIDE // 2 - cells[..., 0]
    angles = np.degrees(np.arctan2(up, right))
    return np.where((right == 0) & (up == 0), np.nan, angles)
