"""Rush Hour: five arrows on a board, each moving relative to its heading."""

from functools import cache
from typing import Any

import numpy as np
import torch

from data_prep.worlds.draws import DrawKey, integers
from data_prep.worlds.grid_world import (
    COLOURS,
    FRAMES,
    HEADING_STREAM,
    NUM_DIRECTIONS,
    NUM_OBJECTS,
    OBJECT_COMPONENT,
    allowed_moves,
    board_facts,
    coloured_tile,
    draw_moves,
    draw_places,
    moved,
    paint_tiles,
    sample_points,
    turned,
)
from orbit.core.actions import ActionComponent
from orbit.core.store.facts import WorldFacts

ACTION_NAMES = ("forward", "right", "back", "left")
HALF_LENGTH, HALF_WIDTH = 4.75, 3.5
"""Half the size of a triangle, in pixels; its length shows its heading."""


class RushHour:
    """Five arrows that keep their headings; see `data_prep.worlds.interface.World`.

    A state holds row, column and heading (up, right, down, left: 0 to 3) of each. Action d of an
    object moves it in the direction heading + d. Quarter turns of the board turn cells and headings
    and leave actions alone (Park et al., Table 1).
    """

    name = "rush_hour"
    group = "c4"
    frames = FRAMES
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
    tolerance = 0.0
    can_render = True

    def __init__(self, actions: tuple[str, ...] | None) -> None:
        self._allowed = allowed_moves(ACTION_NAMES, actions)
        self._is_limited = actions is not None

    def reset(
        self, seed: int, split_number: int, episodes: np.ndarray, limited: bool
    ) -> np.ndarray:
        places = draw_places(seed, split_number, episodes)
        key = DrawKey(seed, split_number, HEADING_STREAM)
        headings = integers(key, episodes, (NUM_DIRECTIONS,) * NUM_OBJECTS)
        return _joined(places, headings.astype(np.float32))

    def draw_actions(
        self,
        seed: int,
        split_number: int,
        episodes: np.ndarray,
        time: int,
        states: np.ndarray,
        limited: bool,
    ) -> np.ndarray:
        allowed = self._allowed if limited else allowed_moves(ACTION_NAMES, None)
        return draw_moves(seed, split_number, episodes, time, allowed)

    def step(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        places, headings = _parts(states)
        objects, relative = actions.astype(np.int64).T
        heading = headings[np.arange(len(states)), objects].astype(np.int64)
        return _joined(moved(places, objects, (heading + relative) % NUM_DIRECTIONS), headings)

    def render(self, states: np.ndarray) -> np.ndarray:
        places, headings = (part.astype(np.int64) for part in _parts(states))
        kinds = np.arange(NUM_OBJECTS) * NUM_DIRECTIONS + headings
        return paint_tiles(_tiles(), places, kinds)

    def act_on_state(self, states: np.ndarray, g: torch.Tensor) -> np.ndarray:
        places, headings = _parts(states)
        return _joined(turned(places, g), (headings - g.numpy()[:, None]) % NUM_DIRECTIONS)

    def act_on_action(self, actions: np.ndarray, g: torch.Tensor) -> np.ndarray:
        return actions

    def action_names(self, actions: np.ndarray) -> list[str]:
        return [f"{which} {ACTION_NAMES[way]}" for which, way in actions.astype(int).tolist()]

    def checksums(self) -> dict[str, str]:
        return {}

    def settings(self) -> dict[str, Any]:
        return {}

    @property
    def facts(self) -> WorldFacts:
        return board_facts(3, "relative", self._allowed if self._is_limited else None)


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
