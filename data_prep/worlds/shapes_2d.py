"""2D Shapes: circles, triangles and squares, always upright (C-SWM's grid world); a backdrop."""

import dataclasses
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from data_prep.settings.worlds import Shapes2dWorldConfig
from data_prep.worlds.draws import DrawKey, integers
from data_prep.worlds.grid_world import (
    COLOURS,
    FRAME_SIDE,
    NUM_OBJECTS,
    SIDE,
    GridWorld,
    coloured_tile,
    paint_tiles,
    sample_points,
)
from orbit.core.plugins import Kind
from orbit.core.store.facts import WorldFacts

RADIUS = 4.5
"""Half the size of a shape, in pixels."""


def shapes_2d(
    config: Shapes2dWorldConfig, actions: tuple[str, ...] | None
) -> "GridWorld | BackdropWorld":
    """The world; ValueError for actions that are not allowed."""
    painter = partial(paint_shapes, shapes=tuple(config.shapes))
    board = GridWorld(config.name, painter, actions, {"shapes": list(config.shapes)})
    return BackdropWorld(board, config.num_backdrops) if config.num_backdrops else board


def paint_shapes(places: np.ndarray, shapes: tuple[str, ...]) -> np.ndarray:
    """Pictures (N, 3, 50, 50) uint8 of objects on cells (N, 5, 2) int64, with shapes assigned in
    turn."""
    return paint_tiles(_tiles(shapes), places, np.arange(NUM_OBJECTS))


@cache
def _tiles(shapes: tuple[str, ...]) -> np.ndarray:
    inside = [_inside(shapes[number % len(shapes)]) for number in range(NUM_OBJECTS)]
    return np.stack(list(map(coloured_tile, inside, COLOURS)))


def _inside(shape: str) -> np.ndarray:
    """Whether the shape covers each sample point of a tile."""
    x, y = sample_points()
    match shape:
        case "circle":
            return np.asarray(x**2 + y**2 <= RADIUS**2)
        case "triangle":
            # The sides go from the lower corners to the middle of the top.
            return np.asarray((y >= -RADIUS) & (y + 2 * abs(x) <= RADIUS))
        case "square":
            return np.asarray(np.maximum(abs(x), abs(y)) <= RADIUS)
        case "diamond":
            return np.asarray(abs(x) + abs(y) <= RADIUS)
    raise ValueError(f"unknown shape {shape!r}")


KIND_STREAM, SHADE_STREAM = 7, 8
BRIGHTEST = 120
"""Exclusive upper limit of a backdrop's values; objects reach 255."""


class BackdropWorld:
    """A grid world whose state also holds the number of the backdrop, one of `num_backdrops`.

    See `data_prep.worlds.interface.World`. The backdrop is drawn with the first state and never
    changes; the group leaves it alone. It is the invariant part of a frame.
    """

    def __init__(self, board: GridWorld, num_backdrops: int) -> None:
        self._board, self._num = board, num_backdrops
        self.name, self.group, self.frames = board.name, board.group, board.frames
        self.action_components = board.action_components
        self.state_size = board.state_size + 1
        self.state_meaning = f"{board.state_meaning}, and the number of the backdrop"
        self.tolerance, self.can_render = board.tolerance, board.can_render

    def reset(
        self, seed: int, split_number: int, episodes: np.ndarray, limited: bool
    ) -> np.ndarray:
        places = self._board.reset(seed, split_number, episodes, limited)
        kinds = integers(DrawKey(seed, split_number, KIND_STREAM), episodes, (self._num,))
        return np.concatenate([places, kinds.astype(np.float32)], 1)

    def draw_actions(
        self,
        seed: int,
        split_number: int,
        episodes: np.ndarray,
        time: int,
        states: np.ndarray,
        limited: bool,
    ) -> np.ndarray:
        places = states[:, :-1]
        return self._board.draw_actions(seed, split_number, episodes, time, places, limited)

    def step(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        return _behind(self._board.step(states[:, :-1], actions), states)

    def render(self, states: np.ndarray) -> np.ndarray:
        boards = self._board.render(states[:, :-1])
        is_object = boards.any(1, keepdims=True)
        return np.where(is_object, boards, _backdrops(self._num)[states[:, -1].astype(np.int64)])

    def act_on_state(self, states: np.ndarray, g: torch.Tensor) -> np.ndarray:
        return _behind(self._board.act_on_state(states[:, :-1], g), states)

    def act_on_action(self, actions: np.ndarray, g: torch.Tensor) -> np.ndarray:
        return self._board.act_on_action(actions, g)

    def action_names(self, actions: np.ndarray) -> list[str]:
        return self._board.action_names(actions)

    def checksums(self) -> Mapping[str, str]:
        return self._board.checksums()

    def settings(self) -> Mapping[str, Any]:
        return {**self._board.settings(), "num_backdrops": self._num}

    @property
    def facts(self) -> WorldFacts:
        return dataclasses.replace(self._board.facts, fixed_part=self._board.state_size)


def _behind(places: np.ndarray, states: np.ndarray) -> np.ndarray:
    """States with new cells and the old backdrops."""
    return np.concatenate([places, states[:, -1:]], 1)


@cache
def _backdrops(num: int) -> np.ndarray:
    """Backdrops (num, 3, 50, 50) uint8: each cell has its own dim colour, and all backdrops
    differ."""
    cells = integers(DrawKey(0, 0, SHADE_STREAM), np.arange(num), (BRIGHTEST,) * (3 * SIDE * SIDE))
    shades = cells.astype(np.uint8).reshape(num, 3, SIDE, SIDE)
    cell = FRAME_SIDE // SIDE
    return shades.repeat(cell, 2).repeat(cell, 3)


WORLD = Kind("shapes_2d", Shapes2dWorldConfig, shapes_2d)
