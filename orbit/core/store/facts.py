"""What a world declares about its states and actions, as its datasets' manifests record it.

Evaluation uses only these facts about a world. All are optional: if a world does not declare one,
what needs it is not measured or drawn.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class StateAngles:
    """For each object, a direction in the plane that two numbers of a state give.

    `right` and `up` are the positions of these numbers, one of each for every object; both are
    measured from `centre`, and `up` points downwards if `counts_down`. `what` describes the angle
    in words.
    """

    what: str
    right: tuple[int, ...]
    up: tuple[int, ...]
    centre: float = 0.0
    counts_down: bool = False

    def __post_init__(self) -> None:
        if len(self.right) != len(self.up):
            raise ValueError(f"right={self.right} and up={self.up} are not of as many objects")

    def of(self, states: np.ndarray) -> np.ndarray:
        """Degrees (N, objects) from -180 to 180, counter-clockwise from the right; NaN for
        objects in the centre. `states` (N, S)."""
        right = states[:, list(self.right)] - self.centre
        up = states[:, list(self.up)]
        up = self.centre - up if self.counts_down else up - self.centre
        return np.where((right == 0) & (up == 0), np.nan, np.degrees(np.arctan2(up, right)))


@dataclass(frozen=True)
class ListedActions:
    """The actions within `tolerance`, in every component, of one of `vectors`."""

    kind: Literal["listed"]
    vectors: tuple[tuple[float, ...], ...]
    tolerance: float = 0.0

    def include(self, actions: np.ndarray) -> np.ndarray:
        """Whether each action of (N, A) is one of these, (N,) bool."""
        found = np.zeros(len(actions), bool)
        for vector in np.array(self.vectors, actions.dtype):
            found |= np.abs(actions - vector).max(-1) <= self.tolerance
        return found


@dataclass(frozen=True)
class RangeOfActions:
    """The actions that lie between `minimum` and `maximum`, both included, in every component."""

    kind: Literal["range"]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]

    def include(self, actions: np.ndarray) -> np.ndarray:
        """Whether each action of (N, A) is one of these, (N,) bool."""
        low, high = (np.array(end, actions.dtype) for end in (self.minimum, self.maximum))
        return np.asarray(((actions >= low) & (actions <= high)).all(-1))


SeenActions = ListedActions | RangeOfActions


@dataclass(frozen=True)
class HeldOut:
    """Orientations that training and validation never show, neither before nor after an action.

    These orientations turn the object's `axis` to within `degrees` of `towards`; x is to the right,
    y up and z to the viewer, in the object's own frame and in the picture. Lengths do not matter.
    """

    degrees: float
    axis: tuple[float, float, float] = (0.0, 1.0, 0.0)
    towards: tuple[float, float, float] = (0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        if not 0 < self.degrees <= 150:
            raise ValueError(f"degrees={self.degrees} must lie above 0 and up to 150")
        for name in ("axis", "towards"):
            vector = getattr(self, name)
            if not math.hypot(*vector) > 0:
                raise ValueError(f"{name}={list(vector)} has no direction")

    def include(self, states: np.ndarray) -> np.ndarray:
        """Whether each rotation matrix of (N, 9), row by row, turns the axis to within `degrees`,
        (N,) bool."""
        matrices = states.reshape(len(states), 3, 3).astype(np.float64)
        axis, towards = (np.array(v) / math.hypot(*v) for v in (self.axis, self.towards))
        cosine = np.zeros(len(matrices))
        for row in range(3):
            for column in range(3):
                cosine += towards[row] * matrices[:, row, column] * axis[column]
        return np.asarray(cosine >= math.cos(math.radians(self.degrees)))


@dataclass(frozen=True)
class Solid:
    """One object whose orientation is the state, as `orbit.core.rendering.solid` draws it.

    Pictures have `size` pixels a side. `mesh` is the object as text (see
    `orbit.core.rendering.rasteriser`), or None for the generated pot.
    """

    size: int
    mesh: str | None = None


def in_block(corners: np.ndarray, side: int, lattice: tuple[int, ...]) -> np.ndarray:
    """Which pixels of pictures (H, W) a block of `side` pixels covers, (N, H, W) bool.

    `corners` (N, 2) are the row and column of the block's top left pixel.
    """
    rows, columns = np.arange(lattice[0]), np.arange(lattice[1])
    in_rows = (rows >= corners[:, :1]) & (rows < corners[:, :1] + side)
    in_columns = (columns >= corners[:, 1:]) & (columns < corners[:, 1:] + side)
    return np.asarray(in_rows[:, :, None] & in_columns[:, None, :])


Directions = Literal["absolute", "relative"]


@dataclass(frozen=True)
class WorldFacts:
    """All that a world may declare.

    `angles` are directions by which states are coloured. `cells` are, for each object, the
    positions of its row and column in a state. `fixed_part` is the position of the number that no
    action and no group element changes. `directions` of actions are `absolute`, turned by the
    group, or `relative` to where an object points, which the group leaves alone. `seen_actions` are
    the actions to which training is limited, None if it uses all; `held_out` are orientations that
    it never shows. `solid` is the object, if actions turn one object in space.
    """

    angles: StateAngles | None = None
    cells: tuple[tuple[int, int], ...] | None = None
    fixed_part: int | None = None
    directions: Directions | None = None
    seen_actions: SeenActions | None = None
    held_out: HeldOut | None = None
    solid: Solid | None = None

    def check(self, num_components: int, state_size: int) -> None:
        """Raise ValueError if the facts do not fit actions of `num_components` and states of
        `state_size` numbers."""
        angles = self.angles
        places = [*(angles.right + angles.up if angles else ())]
        places += [place for cell in self.cells or () for place in cell]
        places += [] if self.fixed_part is None else [self.fixed_part]
        for place in places:
            if not 0 <= place < state_size:
                raise ValueError(f"facts name number {place} of states of {state_size} numbers")
        match self.seen_actions:
            case ListedActions(vectors=vectors):
                named = vectors
            case RangeOfActions(minimum=minimum, maximum=maximum):
                named = (minimum, maximum)
            case None:
                named = ()
        for vector in named:
            if len(vector) != num_components:
                raise ValueError(
                    f"facts name the action {list(vector)}, but actions have {num_components}"
                    " components"
                )
