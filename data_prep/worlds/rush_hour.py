"""Rush Hour: five arrows on a board, each moving relative to its heading."""

from functools import cache

import numpy as np
import torch

from data_prep.settings.worlds import RushHourWorldConfig
from data_prep.worlds.draws import DrawKey, integers
from data_prep.worlds.grid_world import (
    COLOURS,
    HEADING_STREAM,
    NUM_DIRECTIONS,
    NUM_OBJECTS,
    OBJECT_COMPONENT,
    GridWorld,
    board_facts,
    coloured_tile,
    draw_places,
    moved,
    paint_tiles,
    sample_points,
    turned,
)
from orbit.core.actions import ActionComponent
from orbit.core.plugins import Kind
from orbit.core.store.facts import WorldFacts

ACTION_NAMES = ("forward", "right", "back", "left")
HALF_LENGTH, HALF_WIDTH = 4.75, 3.5
"""Half the size of a triangle, in pixels; its length shows its heading."""


class RushHour(GridWorld):
    """Five arrows that keep their headings; see `data_prep.worlds.interface.World`.

    A state holds row, column and heading (up, right, down, left: 0 to 3) of each. Action d of an
    object moves it in the direction heading + d. Quarter turns of the board turn cells and headings
    and leave actions alone (Park et al., Table 1).
    """

    action_components = (
        OBJECT_COMPONENT,
        ActionComponent(
            "direction",
            "forward, right, back or left of its heading: 0 to 3",
            "number",
            0.0,
            float(NUM_DIRECTIONS - 1),
        ),
    )
    state_size = 3 * NUM_OBJECTS
    state_meaning = "row, column and heading (up, right, down, left: 0 to 3) of each of five arrows"
    direction_names = ACTION_NAMES

    def __init__(self, actions: tuple[str, ...] | None) -> None:
        super().__init__("rush_hour", paint_arrows, actions)

    def reset(
        self, seed: int, split_number: int, episodes: np.ndarray, limited: bool
    ) -> np.ndarray:
        places = draw_places(seed, split_number, episodes)
        key = DrawKey(seed, split_number, HEADING_STREAM)
        headings = integers(key, episodes, (NUM_DIRECTIONS,) * NUM_OBJECTS)
        return _joined(places, headings.astype(np.float32))

    def step(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        places, headings = _parts(states)
        objects, relative = actions.astype(np.int64).T
        heading = headings[np.arange(len(states)), objects].astype(np.int64)
        return _joined(moved(places, objects, (heading + relative) % NUM_DIRECTIONS), headings)

    def act_on_state(self, states: np.ndarray, g: torch.Tensor) -> np.ndarray:
        places, headings = _parts(states)
        return _joined(turned(places, g), (headings - g.numpy()[:, None]) % NUM_DIRECTIONS)

    def act_on_action(self, actions: np.ndarray, g: torch.Tensor) -> np.ndarray:
        return actions

    @property
    def facts(self) -> WorldFacts:
        return board_facts(3, "relative", self._allowed if self._is_limited else None)


def paint_arrows(objects: np.ndarray) -> np.ndarray:
    """Pictures (N, 3, 50, 50) uint8 of places and headings (N, 5, 3) int64."""
    kinds = np.arange(NUM_OBJECTS) * NUM_DIRECTIONS + objects[..., 2]
    return paint_tiles(_tiles(), objects[..., :2], kinds)


def _parts(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells (N, 5, 2) and headings (N, 5)."""
    by_object = states.reshape(len(states), NUM_OBJECTS, 3)
    return by_object[..., :2], by_object[..., 2]


def _joined(places: np.ndarray, headings: np.ndarray) -> np.ndarray:
    by_object = np.concatenate([places, headings[..., None]], -1)
    return by_object.reshape(len(places), -1).astype(np.float32)


@cache
def _tiles() -> np.ndarray:
    """Every object in every heading, objects first: (20, 3, 10, 10) uint8."""
    x, y = sample_points()
    half_width = HALF_WIDTH * (HALF_LENGTH - y) / (2 * HALF_LENGTH)
    upwards = (abs(y) <= HALF_LENGTH) & (abs(x) <= half_width)
    turns = [np.rot90(upwards, -heading) for heading in range(NUM_DIRECTIONS)]
    return np.stack([coloured_tile(inside, colour) for colour in COLOURS for inside in turns])


WORLD = Kind("rush_hour", RushHourWorldConfig, lambda config, actions: RushHour(actions))
