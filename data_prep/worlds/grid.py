"""Dynamics that the grid worlds share: five objects on a 5x5 board, one moved at a time.

Places are (N, 5, 2) rows and columns, rows downwards, of any number type. Directions are
0 to 3: up, right, down, left. A move into a wall or another object changes nothing (Kipf
et al., "Contrastive Learning of Structured World Models", Section 4.1).
"""

from collections.abc import Sequence

import numpy as np
import torch

from data_prep.worlds.draws import DrawKey, choices, integers

SIDE = 5
NUM_OBJECTS = 5
MOVES = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]], np.float32)
"""Rows and columns that a step in each direction leads."""
NUM_DIRECTIONS = len(MOVES)

RESET_STREAM, ACTION_STREAM, HEADING_STREAM = 0, 1, 2


def draw_places(seed: int, split_number: int, episodes: np.ndarray) -> np.ndarray:
    """Uniform first places (N, 5, 2) float32 of objects on different cells."""
    key = DrawKey(seed, split_number, RESET_STREAM)
    cells = choices(key, episodes, SIDE * SIDE, NUM_OBJECTS)
    return np.stack(np.divmod(cells, SIDE), -1).astype(np.float32)


def draw_moves(
    seed: int, split_number: int, episodes: np.ndarray, time: int, allowed: np.ndarray
) -> np.ndarray:
    """Actions (N, 2) float32: a uniform one of the objects that may move, and a uniform one of its
    directions. `allowed` (5, 4) bool says which moves there are."""
    key = DrawKey(seed, split_number, ACTION_STREAM, time)
    movable = np.flatnonzero(allowed.any(1))
    objects = movable[integers(key, episodes, (len(movable),))[:, 0]]
    directions = np.empty_like(objects)
    for each in movable:
        rows, own = objects == each, np.flatnonzero(allowed[each])
        # The number of objects leaves the second draw as it is.
        directions[rows] = own[integers(key, episodes[rows], (1, len(own)))[:, 1]]
    return np.stack([objects, directions], -1).astype(np.float32)


def moved(places: np.ndarray, objects: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Places after one object (N,) of each board has moved in a direction (N,), both whole."""
    rows = np.arange(len(places))
    wanted = places[rows, objects] + MOVES[directions]
    is_inside = ((wanted >= 0) & (wanted < SIDE)).all(-1)
    is_taken = (places == wanted[:, None]).all(-1).any(-1)
    free = is_inside & ~is_taken
    after = places.copy()
    after[rows[free], objects[free]] = wanted[free]
    return after


def turned(places: np.ndarray, turns: torch.Tensor) -> np.ndarray:
    """Places after counter-clockwise quarter turns (N,) of the board; one takes (r, c) to
    (4 - c, r)."""
    number = turns.numpy()[:, None, None]
    row, column = places[..., :1], places[..., 1:]
    last = SIDE - 1
    quarter = np.concatenate([last - column, row], -1)
    half = np.concatenate([last - row, last - column], -1)
    back = np.concatenate([column, last - row], -1)
    return np.select([number == 1, number == 2, number == 3], [quarter, half, back], places)


def allowed_moves(names: Sequence[str], actions: tuple[str, ...] | None) -> np.ndarray:
    """Which objects may move in which directions, (5, 4) bool; all for None.

    An action is the name of a direction, for all objects, or an object's number and the name:
    "up" or "0 up". Raises ValueError for anything else, for a move that comes twice, and for none.
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
