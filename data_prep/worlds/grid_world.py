"""A board of objects without headings: 2D Shapes and 3D Blocks, which only look different."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from data_prep.store.manifest import FrameSpec
from data_prep.worlds.grid import (
    NUM_DIRECTIONS,
    NUM_OBJECTS,
    allowed_moves,
    draw_moves,
    draw_places,
    moved,
    turned,
)
from pipeline.groups import ActionComponent

DIRECTION_NAMES = ("up", "right", "down", "left")
FRAME_SIDE = 50
FRAMES = FrameSpec((3, FRAME_SIDE, FRAME_SIDE), "uint8", (0.0, 255.0), (0.0, 1.0))
OBJECT_COMPONENT = ActionComponent(
    "object", "which object moves", "number", 0.0, float(NUM_OBJECTS - 1)
)

Painter = Callable[[np.ndarray], np.ndarray]
"""Pictures (N, 3, 50, 50) uint8 of places (N, 5, 2) int64; a function that can be pickled."""


class GridWorld:
    """Five objects pushed about; see `data_prep.worlds.interface.World`.

    A state holds row and column of each object. Quarter turns of the board turn places and
    directions (Park et al., "Learning Symmetric Embeddings for Equivariant World Models",
    Table 1); pictures of turned states are drawn anew.
    """

    group = "c4"
    frames = FRAMES
    action_components = (
        OBJECT_COMPONENT,
        ActionComponent(
            "direction", "up, right, down or left: 0 to 3", "number", 0.0, float(NUM_DIRECTIONS - 1)
        ),
    )
    state_size = 2 * NUM_OBJECTS
    state_meaning = "row and column of each of five objects"
    tolerance = 0.0
    can_render = True

    def __init__(
        self,
        name: str,
        painter: Painter,
        actions: tuple[str, ...] | None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self._painter = name, painter
        self._allowed = allowed_moves(DIRECTION_NAMES, actions)
        self._settings = dict(settings or {})

    def reset(
        self, seed: int, split_number: int, episodes: np.ndarray, limited: bool
    ) -> np.ndarray:
        places = draw_places(seed, split_number, episodes)
        return places.reshape(len(episodes), self.state_size)

    def draw_actions(
        self,
        seed: int,
        split_number: int,
        episodes: np.ndarray,
        time: int,
        states: np.ndarray,
        limited: bool,
    ) -> np.ndarray:
        allowed = self._allowed if limited else allowed_moves(DIRECTION_NAMES, None)
        return draw_moves(seed, split_number, episodes, time, allowed)

    def is_allowed(self, actions: np.ndarray) -> np.ndarray:
        objects, directions = actions.astype(np.int64).T
        return np.asarray(self._allowed[objects, directions])

    def step(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        objects, directions = actions.astype(np.int64).T
        return moved(_places(states), objects, directions).reshape(states.shape)

    def render(self, states: np.ndarray) -> np.ndarray:
        return self._painter(_places(states).astype(np.int64))

    def act_on_state(self, states: np.ndarray, g: torch.Tensor) -> np.ndarray:
        return turned(_places(states), g).reshape(states.shape)

    def act_on_action(self, actions: np.ndarray, g: torch.Tensor) -> np.ndarray:
        directions = (actions[:, 1] - g.numpy()) % NUM_DIRECTIONS
        return np.stack([actions[:, 0], directions], -1).astype(np.float32)

    def action_names(self, actions: np.ndarray) -> list[str]:
        return [f"{which} {DIRECTION_NAMES[way]}" for which, way in actions.astype(int).tolist()]

    def checksums(self) -> dict[str, str]:
        return {}

    def settings(self) -> dict[str, Any]:
        return self._settings


def _places(states: np.ndarray) -> np.ndarray:
    return states.reshape(len(states), NUM_OBJECTS, 2)
