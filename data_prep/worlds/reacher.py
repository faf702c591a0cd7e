"""An arm of two links that random torques move: the paper's Reacher, for any arm that is given."""

from typing import Any, Protocol

import numpy as np
import torch

from data_prep.store.manifest import FrameSpec
from data_prep.worlds import reacher_states as states_of
from data_prep.worlds.draws import DrawKey
from data_prep.worlds.sine_cosine import sine_cosine

NUM_CHANNELS = 6
"""Two pictures: before and after the last action."""


class Arm(Protocol):
    """What moves and how it looks, for N arms at once; all in float64."""

    @property
    def tolerance(self) -> float:
        """Of the world; see `data_prep.worlds.interface.World`."""

    @property
    def can_render(self) -> bool:
        """Whether pictures can be made here."""

    def advance(self, arms: np.ndarray, torques: np.ndarray) -> np.ndarray:
        """Direction, bend and speeds (N, 5) after torques (N, 2) on arms (N, 7), goals last."""

    def paint(
        self, direction: np.ndarray, bend: np.ndarray, goal: np.ndarray, size: int
    ) -> np.ndarray:
        """Pictures (N, 3, size, size) uint8 of directions (N, 2), bends (N,) and goals (N, 2)."""


class Reacher:
    """A reacher with a fixed goal; see `data_prep.worlds.interface.World`.

    Episodes begin after 50 random actions. Quarter turns of the plane and its mirrors turn the
    arm and its goal; turns leave torques alone, mirrors reverse them (Park et al., "Learning
    Symmetric Embeddings for Equivariant World Models", Table 1 and Section 4).
    """

    group = states_of.GROUP
    action_components = states_of.TORQUES
    state_size, state_meaning = states_of.STATE_SIZE, states_of.STATE_MEANING

    def __init__(self, name: str, arm: Arm, size: int, actions: tuple[str, ...] | None) -> None:
        if actions is not None and actions != (states_of.POSITIVE_SECOND_TORQUE,):
            raise ValueError(
                f"dataset.actions=[{','.join(actions)}] is not allowed;"
                f" allowed: {states_of.POSITIVE_SECOND_TORQUE}"
            )
        self.name, self._arm, self._size, self._is_limited = name, arm, size, actions is not None
        shape = (NUM_CHANNELS, size, size)
        self.frames = FrameSpec(shape, "uint8", (0.0, 255.0), (0.0, 1.0))

    @property
    def tolerance(self) -> float:
        return self._arm.tolerance

    @property
    def can_render(self) -> bool:
        return self._arm.can_render

    def reset(
        self, seed: int, split_number: int, episodes: np.ndarray, limited: bool
    ) -> np.ndarray:
        first = states_of.draw_first_motion(seed, split_number, episodes)
        states = np.empty((len(episodes), self.state_size), np.float32)
        states[:, 1], states[:, 0] = sine_cosine(first[:, 0])
        states[:, 2:5] = first[:, 1:]
        states[:, states_of.GOAL] = states_of.GOAL_PLACE
        states[:, 7:] = states[:, :3]
        for time in range(states_of.NUM_WARM_UP_STEPS):
            key = DrawKey(seed, split_number, states_of.WARM_UP_STREAM, time)
            states = self.step(states, states_of.draw_torques(key, episodes, limited))
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
        key = DrawKey(seed, split_number, states_of.ACTION_STREAM, time)
        return states_of.draw_torques(key, episodes, limited)

    def is_allowed(self, actions: np.ndarray) -> np.ndarray:
        return states_of.is_allowed(actions) if self._is_limited else np.ones(len(actions), bool)

    def step(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        after = np.empty_like(states)
        arms = states[:, :7].astype(np.float64)
        after[:, :5] = self._arm.advance(arms, actions.astype(np.float64))
        after[:, states_of.GOAL] = states[:, states_of.GOAL]
        after[:, 7:] = states[:, :3]
        return after

    def render(self, states: np.ndarray) -> np.ndarray:
        """The pose before the last action, then the pose of now; each is painted once."""
        goal = states[:, states_of.GOAL]
        poses = np.concatenate(
            [np.concatenate([pose, goal], 1) for pose in (states[:, 7:], states[:, :3])]
        ).astype(np.float64)
        poses, place = np.unique(poses, axis=0, return_inverse=True)
        pictures = self._arm.paint(poses[:, :2], poses[:, 2], poses[:, 3:], self._size)
        pair = np.asarray(place).reshape(2, len(states))
        return np.concatenate([pictures[pair[0]], pictures[pair[1]]], 1)

    def act_on_state(self, states: np.ndarray, g: torch.Tensor) -> np.ndarray:
        return states_of.act_on_states(states, g)

    def act_on_action(self, actions: np.ndarray, g: torch.Tensor) -> np.ndarray:
        return states_of.act_on_torques(actions, g)

    def action_names(self, actions: np.ndarray) -> list[str]:
        return [f"{first:+.1f} {second:+.1f}" for first, second in actions.tolist()]

    def checksums(self) -> dict[str, str]:
        return {}

    def settings(self) -> dict[str, Any]:
        return {"size": self._size}
