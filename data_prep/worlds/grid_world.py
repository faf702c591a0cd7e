"""The common dynamics of grid worlds: five objects on a board, one moved at a time; tiles.

Cells are (N, 5, 2) rows and columns, rows downwards, of any number type. Directions are 0 to 3: up,
right, down, left. A move into a wall or another object changes nothing (Kipf et al., "Contrastive
Learning of Structured World Models", Section 4.1).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from data_prep.worlds.draws import DrawKey, choices, integers
from orbit.core.actions import ActionComponent
from orbit.core.store.facts import Directions, ListedActions, StateAngles, WorldFacts
from orbit.core.store.manifest import FrameSpec

SIDE = 5
NUM_OBJECTS = 5
MOVES = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]], np.float32)
"""The change of row and column by a step in each direction."""
NUM_DIRECTIONS = len(MOVES)

RESET_STREAM, ACTION_STREAM, HEADING_STREAM = 0, 1, 2


def draw_places(seed: int, split_number: int, episodes: np.ndarray) -> np.ndarray:
    """Uniform first cells (N, 5, 2) float32 of objects, all different."""
    key = DrawKey(seed, split_number, RESET_STREAM)
    cells = choices(key, episodes, SIDE * SIDE, NUM_OBJECTS)
    return np.stack(np.divmod(cells, SIDE), -1).astype(np.float32)


def draw_moves(
    seed: int, split_number: int, episodes: np.ndarray, time: int, allowed: np.ndarray
) -> np.ndarray:
    """Actions (N, 2) float32: one of the objects that may move, and one of its directions, both
    uniform. `allowed` (5, 4) bool says which moves exist."""
    key = DrawKey(seed, split_number, ACTION_STREAM, time)
    movable = np.flatnonzero(allowed.any(1))
    objects = movable[integers(key, episodes, (len(movable),))[:, 0]]
    directions = np.empty_like(objects)
    for each in movable:
        rows, own = objects == each, np.flatnonzero(allowed[each])
        # The second draw does not depend on the number of objects.
        directions[rows] = own[integers(key, episodes[rows], (1, len(own)))[:, 1]]
    return np.stack([objects, directions], -1).astype(np.float32)


def moved(places: np.ndarray, objects: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Cells after one object (N,) of each board has moved in a direction (N,), both integers."""
    rows = np.arange(len(places))
    wanted = places[rows, objects] + MOVES[directions]
    is_inside = ((wanted >= 0) & (wanted < SIDE)).all(-1)
    is_taken = (places == wanted[:, None]).all(-1).any(-1)
    free = is_inside & ~is_taken
    after = places.copy()
    after[rows[free], objects[free]] = wanted[free]
    return after


def turned(places: np.ndarray, turns: torch.Tensor) -> np.ndarray:
    """Cells after counter-clockwise quarter turns (N,) of the board; one turn moves (r, c) to (4 -
    c, r)."""
    number = turns.numpy()[:, None, None]
    row, column = places[..., :1], places[..., 1:]
    last = SIDE - 1
    quarter = np.concatenate([last - column, row], -1)
    half = np.concatenate([last - row, last - column], -1)
    back = np.concatenate([column, last - row], -1)
    return np.select([number == 1, number == 2, number == 3], [quarter, half, back], places)


def allowed_moves(names: Sequence[str], actions: tuple[str, ...] | None) -> np.ndarray:
    """Which objects may move in which directions, (5, 4) bool; all for None.

    An action is the name of a direction, for all objects, or an object's number and the name: "up"
    or "0 up". Raises ValueError for anything else, for a repeated move, and for no move at all.
    """
    allowed = np.zeros((NUM_OBJECTS, len(names)), np.int64)
    numbers = list(map(str, range(NUM_OBJECTS)))
    for action in names if actions is None else actions:
        number, _, name = action.rpartition(" ")
        if name not in names or (number and number not in numbers):
            allowed[:] = 0
            break
        allowed[int(number) if number else slice(None), names.index(name)] += 1
    if not allowed.any() or allowed.max() > 1:
        raise ValueError(
            f"dataset.actions=[{','.join(actions or ())}] is not allowed;"
            f" allowed: some of {', '.join(names)}, each once, or of one object alone,"
            f" '0 {names[0]}' to '{NUM_OBJECTS - 1} {names[-1]}'"
        )
    return allowed > 0


def board_facts(
    numbers_an_object: int, directions: Directions, allowed: np.ndarray | None
) -> WorldFacts:
    """The facts of boards: a state holds this number of values for each object, row and column
    first.

    `allowed` (5, 4) bool are the moves that training is limited to, None for no limit.
    """
    rows = tuple(range(0, numbers_an_object * NUM_OBJECTS, numbers_an_object))
    columns = tuple(row + 1 for row in rows)
    seen = None
    if allowed is not None:
        moves = np.argwhere(allowed).astype(float).tolist()
        seen = ListedActions("listed", tuple(map(tuple, moves)))
    return WorldFacts(
        angles=StateAngles("cell", columns, rows, (SIDE - 1) / 2, counts_down=True),
        cells=tuple(zip(rows, columns, strict=True)),
        directions=directions,
        seen_actions=seen,
    )


TILE = 10
"""Pixels a side of a cell."""
SAMPLES = 16
"""Sample points a side of a pixel, which make outlines smooth."""

COLOURS = (
    (228, 26, 28),
    (55, 126, 184),
    (77, 175, 74),
    (152, 78, 163),
    (255, 127, 0),
)
"""Red, blue, green, purple, orange: matplotlib's Set1 at i / 9, as in the paper's worlds."""


def sample_points(num_pixels: int = TILE) -> tuple[np.ndarray, np.ndarray]:
    """x (to the right) and y (upwards) of the sample points of a tile, from its centre, in pixels.

    Both (num_pixels * SAMPLES, num_pixels * SAMPLES); multiples of a power of two.
    """
    num = num_pixels * SAMPLES
    place = (np.arange(num) + 0.5) / SAMPLES - num_pixels / 2
    return np.meshgrid(place, -place)


def coloured_tile(inside: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A tile (3, 10, 10) uint8 on black, with one colour at the sample points inside."""
    covered = inside.reshape(TILE, SAMPLES, TILE, SAMPLES).sum((1, 3))
    shades = np.array(colour)[:, None, None] * covered
    return np.asarray((shades + SAMPLES**2 // 2) // SAMPLES**2, np.uint8)


def paint_tiles(tiles: np.ndarray, places: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Boards (N, 3, 50, 50) uint8 of objects on different cells.

    `tiles` (K, 3, 10, 10) uint8; `places` (N, n, 2) rows and columns; `kinds` (N, n) or (n,) are
    the tiles of the objects.
    """
    num = len(places)
    shown = np.full((num, SIDE * SIDE), len(tiles))
    cells = places[..., 0] * SIDE + places[..., 1]
    shown[np.arange(num)[:, None], cells] = kinds
    with_empty = np.concatenate([tiles, np.zeros_like(tiles[:1])])
    board = with_empty[shown].reshape(num, SIDE, SIDE, 3, TILE, TILE)
    picture = board.transpose(0, 3, 1, 4, 2, 5)
    return np.asarray(picture).reshape(num, 3, SIDE * TILE, SIDE * TILE)


DIRECTION_NAMES = ("up", "right", "down", "left")
FRAME_SIDE = 50
FRAMES = FrameSpec((3, FRAME_SIDE, FRAME_SIDE), "uint8", (0.0, 255.0), (0.0, 1.0))
OBJECT_COMPONENT = ActionComponent(
    "object", "which object moves", "number", 0.0, float(NUM_OBJECTS - 1)
)

Painter = Callable[[np.ndarray], np.ndarray]
"""Draws pictures (N, 3, 50, 50) uint8 of cells (N, 5, 2) int64; a function that can be pickled."""


class GridWorld:
    """Five objects pushed about; see `data_prep.worlds.interface.World`.

    A state holds row and column of each object. Quarter turns of the board turn cells and
    directions (Park et al., "Learning Symmetric Embeddings for Equivariant World Models", Table 1);
    pictures of turned states are drawn anew.
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
    direction_names = DIRECTION_NAMES

    def __init__(
        self,
        name: str,
        painter: Painter,
        actions: tuple[str, ...] | None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self._painter = name, painter
        self._allowed = allowed_moves(self.direction_names, actions)
        self._is_limited = actions is not None
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
        allowed = self._allowed if limited else allowed_moves(self.direction_names, None)
        return draw_moves(seed, split_number, episodes, time, allowed)

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
        return [
            f"{which} {self.direction_names[way]}" for which, way in actions.astype(int).tolist()
        ]

    def checksums(self) -> dict[str, str]:
        return {}

    def settings(self) -> dict[str, Any]:
        return self._settings

    @property
    def facts(self) -> WorldFacts:
        return board_facts(2, "absolute", self._allowed if self._is_limited else None)


def _places(states: np.ndarray) -> np.ndarray:
    return states.reshape(len(states), NUM_OBJECTS, -1)
