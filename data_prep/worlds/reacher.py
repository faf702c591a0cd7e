"""A reacher: an arm of two links in the plane and a goal; its states, draws and symmetries.

A state holds the unit vector along the first link, the angle from it to the second, the velocities
of both joints, the goal, and the arm's poses before the last actions, as many as a frame looks
back. With a vector instead of the first joint's angle, quarter turns and mirrors act without
rounding: they only exchange numbers and signs.

Libraries round trigonometric functions differently. The ones here are odd and even bit for bit.
"""

from typing import Any, Protocol

import numpy as np
import torch

from data_prep.settings.worlds import NUM_WARM_UP_STEPS
from data_prep.worlds.draws import DrawKey, uniforms
from orbit.core.actions import ActionComponent
from orbit.core.groups.point_groups import determinants, square_matrices
from orbit.core.store.facts import RangeOfActions, StateAngles, WorldFacts
from orbit.core.store.manifest import FrameSpec

GROUP = "d4"
STATE_MEANING = (
    "cosine and sine of the first joint's angle, the second joint's angle (radians), velocities of"
    " both (radians/s), goal x and y (metres); cosine, sine and angle before the last"
)
DIRECTION, BEND, SPEEDS, GOAL = slice(0, 2), 2, slice(3, 5), slice(5, 7)
NUM_PRESENT, POSE_SIZE = 7, 3
"""Numbers of a state that are not past poses, and of a pose."""


def past_pose(num_actions: int) -> slice:
    """The positions in a state of the pose before the last `num_actions` actions, 0 for now."""
    first = NUM_PRESENT + POSE_SIZE * (num_actions - 1) if num_actions else DIRECTION.start
    return slice(first, first + POSE_SIZE)


TORQUES = tuple(
    ActionComponent(f"torque_{joint}", f"torque on the {name} joint", "full torque", -1.0, 1.0)
    for joint, name in enumerate(("first", "second"))
)
POSITIVE_SECOND_TORQUE = "positive_second_torque"
LIMITED_TORQUES = RangeOfActions("range", (-1.0, 0.0), (1.0, 1.0))
"""The torques of a limited policy, and their name."""

GOAL_PLACE = (0.2, 0.2)
"""In metres; the arm's reach is 0.22."""
ANGLE_SPREAD, SPEED_SPREAD = 0.1, 0.005
"""First angles and velocities are uniform between plus and minus these values."""
RESET_STREAM, ACTION_STREAM, WARM_UP_STREAM = 0, 1, 2


def draw_first_motion(seed: int, split_number: int, episodes: np.ndarray) -> np.ndarray:
    """Angles and velocities of both joints before the warm-up steps, (N, 4) float64."""
    drawn = uniforms(DrawKey(seed, split_number, RESET_STREAM), episodes, 4)
    spread = np.array([ANGLE_SPREAD, ANGLE_SPREAD, SPEED_SPREAD, SPEED_SPREAD])
    return np.asarray(spread * (2 * drawn - 1))


def draw_torques(key: DrawKey, episodes: np.ndarray, limited: bool) -> np.ndarray:
    """Uniform torques (N, 2) float32; `limited` ones never turn the second joint backwards."""
    torques = 2 * uniforms(key, episodes, len(TORQUES)) - 1
    if limited:
        torques[:, 1] = np.abs(torques[:, 1])
    return torques.astype(np.float32)


def act_on_states(states: np.ndarray, g: torch.Tensor) -> np.ndarray:
    """States (N, S) after turns and mirrors of the plane, elements of d4 (N,): the arm and its
    goal turn together. Vectors turn, and mirrors reverse the other numbers."""
    matrices = square_matrices().numpy().astype(states.dtype)[g.numpy()]
    moved = states * _signs(g)[:, None].astype(states.dtype)
    directions = [slice(at, at + 2) for at in range(NUM_PRESENT, states.shape[1], POSE_SIZE)]
    for part in (DIRECTION, GOAL, *directions):
        x, y = states[:, part].T
        moved[:, part] = matrices[:, :, 0] * x[:, None] + matrices[:, :, 1] * y[:, None]
    return np.asarray(moved)


def act_on_torques(torques: np.ndarray, g: torch.Tensor) -> np.ndarray:
    """Torques (N, 2) after elements of d4 (N,): turns leave them alone, mirrors reverse them."""
    return np.asarray(torques * _signs(g)[:, None].astype(torques.dtype))


def _signs(g: torch.Tensor) -> np.ndarray:
    """+1 for turns, -1 for mirrors."""
    return np.asarray(determinants(square_matrices()).numpy()[g.numpy()])


MAX_ANGLE = 8.0
"""In radians; more than a whole turn either way."""
NUM_HALVINGS = 4


def sine_cosine(angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sines and cosines, float64, of angles within `MAX_ANGLE`; errors below 1e-14.

    It uses Taylor series at a sixteenth of the angle, then sin 2x = 2 sin x cos x and 1 - cos 2x =
    2 sin^2 x.
    """
    x = np.asarray(angle, np.float64) / 2**NUM_HALVINGS
    square = x * x
    sine, versine = np.zeros_like(x), np.zeros_like(x)
    for order in (15, 13, 11, 9, 7, 5, 3):
        sine = (1 - sine) * square / (order * (order - 1))
    sine = x * (1 - sine)
    for order in (16, 14, 12, 10, 8, 6, 4, 2):
        versine = (1 - versine) * square / (order * (order - 1))
    for _ in range(NUM_HALVINGS):
        sine, versine = 2 * sine * (1 - versine), 2 * sine * sine
    return sine, 1 - versine


class Arm(Protocol):
    """The interface of arms: motion and pictures, for N arms at once, in float64."""

    @property
    def tolerance(self) -> float:
        """The tolerance of the world; see `data_prep.worlds.interface.World`."""

    @property
    def can_render(self) -> bool:
        """Whether pictures can be made here."""

    def check_rendering(self) -> None:
        """Raise ValueError, saying what is missing, unless pictures can be made here."""

    def advance(self, arms: np.ndarray, torques: np.ndarray) -> np.ndarray:
        """Direction, bend and speeds (N, 5) after torques (N, 2) on arms (N, 7), goals last."""

    def paint(
        self, direction: np.ndarray, bend: np.ndarray, goal: np.ndarray, size: int
    ) -> np.ndarray:
        """Pictures (N, 3, size, size) uint8 of directions (N, 2), bends (N,) and goals (N, 2)."""


class Reacher:
    """A reacher with a fixed goal; see `data_prep.worlds.interface.World`.

    A frame stacks `num_frames` pictures that are `frame_gap` actions apart, the latest last.
    Episodes start after 50 random actions. Quarter turns of the plane and its mirrors turn the arm
    and its goal; turns leave torques alone, mirrors reverse them (Park et al., "Learning Symmetric
    Embeddings for Equivariant World Models", Table 1 and Section 4).
    """

    group = GROUP
    action_components = TORQUES

    def __init__(
        self,
        name: str,
        arm: Arm,
        size: int,
        actions: tuple[str, ...] | None,
        num_frames: int = 2,
        frame_gap: int = 1,
    ) -> None:
        if actions is not None and actions != (POSITIVE_SECOND_TORQUE,):
            raise ValueError(
                f"dataset.actions=[{','.join(actions)}] is not allowed;"
                f" allowed: {POSITIVE_SECOND_TORQUE}"
            )
        self.name, self._arm, self._size, self._is_limited = name, arm, size, actions is not None
        self._num_frames, self._frame_gap = num_frames, frame_gap
        num_past = (num_frames - 1) * frame_gap
        self.state_size = NUM_PRESENT + POSE_SIZE * num_past
        actions_back = "action" if num_past == 1 else f"1 to {num_past} actions"
        self.state_meaning = f"{STATE_MEANING} {actions_back}"
        self.frames = FrameSpec((3 * num_frames, size, size), "uint8", (0.0, 255.0), (0.0, 1.0))

    @property
    def tolerance(self) -> float:
        return self._arm.tolerance

    @property
    def can_render(self) -> bool:
        return self._arm.can_render

    def check_rendering(self) -> None:
        """See `data_prep.worlds.interface.Drawn`."""
        self._arm.check_rendering()

    def reset(
        self, seed: int, split_number: int, episodes: np.ndarray, limited: bool
    ) -> np.ndarray:
        first = draw_first_motion(seed, split_number, episodes)
        states = np.empty((len(episodes), self.state_size), np.float32)
        states[:, 1], states[:, 0] = sine_cosine(first[:, 0])
        states[:, BEND : SPEEDS.stop] = first[:, 1:]
        states[:, GOAL] = GOAL_PLACE
        num_past = (self.state_size - NUM_PRESENT) // POSE_SIZE
        states[:, NUM_PRESENT:] = np.tile(states[:, past_pose(0)], num_past)
        for time in range(NUM_WARM_UP_STEPS):
            key = DrawKey(seed, split_number, WARM_UP_STREAM, time)
            states = self.step(states, draw_torques(key, episodes, limited))
        return states

    def draw_actions(
        self,
        seed: int,
        split_number: int,
        episodes: np.ndarray,
        time: int,
        states: np.ndarray,
        limited: bool,
    ) -> np.ndarray:
        key = DrawKey(seed, split_number, ACTION_STREAM, time)
        return draw_torques(key, episodes, limited)

    @property
    def facts(self) -> WorldFacts:
        first_link = StateAngles("first link", (DIRECTION.start,), (DIRECTION.start + 1,))
        return WorldFacts(
            angles=first_link, seen_actions=LIMITED_TORQUES if self._is_limited else None
        )

    def step(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        after = np.empty_like(states)
        arms = states[:, :7].astype(np.float64)
        after[:, :5] = self._arm.advance(arms, actions.astype(np.float64))
        after[:, GOAL] = states[:, GOAL]
        after[:, past_pose(1)] = states[:, past_pose(0)]
        after[:, past_pose(2).start :] = states[:, NUM_PRESENT:-POSE_SIZE]
        return after

    def render(self, states: np.ndarray) -> np.ndarray:
        """Pictures of the poses that a frame shows, the current one last; each is drawn once."""
        goal = states[:, GOAL]
        shown = [past_pose(back * self._frame_gap) for back in reversed(range(self._num_frames))]
        poses = np.concatenate(
            [np.concatenate([states[:, pose], goal], 1) for pose in shown]
        ).astype(np.float64)
        poses, place = np.unique(poses, axis=0, return_inverse=True)
        pictures = self._arm.paint(poses[:, :2], poses[:, 2], poses[:, 3:], self._size)
        each = np.asarray(place).reshape(self._num_frames, len(states))
        return np.concatenate([pictures[places] for places in each], 1)

    def act_on_state(self, states: np.ndarray, g: torch.Tensor) -> np.ndarray:
        return act_on_states(states, g)

    def act_on_action(self, actions: np.ndarray, g: torch.Tensor) -> np.ndarray:
        return act_on_torques(actions, g)

    def action_names(self, actions: np.ndarray) -> list[str]:
        return [f"{first:+.1f} {second:+.1f}" for first, second in actions.tolist()]

    def checksums(self) -> dict[str, str]:
        return {}

    def settings(self) -> dict[str, Any]:
        stacked = {"num_frames": self._num_frames, "frame_gap": self._frame_gap}
        is_usual = (self._num_frames, self._frame_gap) == (2, 1)
        return {"size": self._size, **({} if is_usual else stacked)}
