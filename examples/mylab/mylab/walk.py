"""A world: a token walks on a hexagonal board, in six directions, and stops at the rim.

D3 turns and reflects the board together with the directions, so a mirrored walk is again a walk.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from mylab.hexagons import MATRICES, is_on_board
from orbit.api import (
    ActionComponent,
    DrawKey,
    FrameSpec,
    Kind,
    ListedActions,
    WorldFacts,
    integers,
)

STEPS = np.array([[1, 0], [0, 1], [-1, 1], [-1, 0], [0, -1], [1, -1]])
NAMES = ("right", "down", "down left", "left", "up", "up right")
PIXELS = 3
FIRST, DIRECTION = 100, 101  # numbers of random streams; Orbit itself uses those below 100
TURNED = np.array(
    [[STEPS.tolist().index((matrix @ step).tolist()) for step in STEPS] for matrix in MATRICES]
)
"""(6, 6): the direction that each element turns each direction into."""


@dataclass(frozen=True)
class WalkConfig:
    """The board has `radius` cells around the middle one; a cell is 3 pixels wide."""

    name: Literal["hexagon_walk"]
    radius: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.radius <= 20:
            raise ValueError(f"radius={self.radius} must lie between 1 and 20")


class HexagonWalk:
    """See `orbit.api.World`: a state is the token's cell (q, r), an action a direction."""

    name, group, state_size, tolerance, can_render = "hexagon_walk", "d3_hexagonal", 2, 0.0, True
    state_meaning = "axial coordinates (q, r) of the token's cell"
    action_components = (ActionComponent("direction", "one of six", "number", 0.0, 5.0),)

    def __init__(self, config: WalkConfig, actions: tuple[str, ...] | None) -> None:
        unknown = set(actions or ()) - set(NAMES)
        if unknown:
            raise ValueError(f"dataset.actions: {sorted(unknown)[0]!r} is none of {list(NAMES)}")
        self.radius = config.radius
        self.allowed = [NAMES.index(name) for name in actions or NAMES]
        seen = ListedActions("listed", tuple((float(each),) for each in self.allowed))
        self.facts = WorldFacts(seen_actions=seen if actions else None)
        side = PIXELS * (2 * config.radius + 1)
        self.frames = FrameSpec((1, side, side), "uint8", (0.0, 255.0), (-1.0, 1.0))
        rows, columns = np.indices((2 * config.radius + 1,) * 2).reshape(2, -1) - config.radius
        cells = np.stack([columns, rows], 1)
        self._cells = cells[is_on_board(cells, config.radius)]

    def reset(self, seed: int, split_number: int, episodes: Any, limited: bool) -> np.ndarray:
        key = DrawKey(seed, split_number, FIRST)
        drawn = integers(key, episodes, (len(self._cells),))[:, 0]
        return self._cells[drawn].astype(np.float32)

    def draw_actions(
        self, seed: int, split_number: int, episodes: Any, time: int, states: Any, limited: bool
    ) -> np.ndarray:
        choices = np.array(self.allowed if limited else range(len(NAMES)))
        key = DrawKey(seed, split_number, DIRECTION, time)
        return choices[integers(key, episodes, (len(choices),))].astype(np.float32)

    def step(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        there = states + STEPS[actions[:, 0].astype(np.int64)]
        inside = is_on_board(there, self.radius)
        return np.where(inside[:, None], there, states).astype(np.float32)

    def render(self, states: np.ndarray) -> np.ndarray:
        side, num = 2 * self.radius + 1, np.arange(len(states))
        board = np.zeros((len(states), side, side), np.uint8)
        board[:, self._cells[:, 1] + self.radius, self._cells[:, 0] + self.radius] = 60
        column, row = (states.astype(np.int64) + self.radius).T
        board[num, row, column] = 255
        return board.repeat(PIXELS, 1).repeat(PIXELS, 2)[:, None]

    def act_on_state(self, states: np.ndarray, g: torch.Tensor) -> np.ndarray:
        return np.einsum("nij,nj->ni", MATRICES[g.numpy()], states).astype(np.float32)

    def act_on_action(self, actions: np.ndarray, g: torch.Tensor) -> np.ndarray:
        return TURNED[g.numpy(), actions[:, 0].astype(np.int64)].astype(np.float32)[:, None]

    def action_names(self, actions: np.ndarray) -> list[str]:
        return [NAMES[direction] for direction in actions[:, 0].astype(np.int64)]

    def checksums(self) -> Mapping[str, str]:
        return {}

    def settings(self) -> Mapping[str, Any]:
        return {"radius": self.radius}


WORLD = Kind("hexagon_walk", WalkConfig, HexagonWalk)
