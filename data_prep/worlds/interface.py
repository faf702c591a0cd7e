"""What a world says about itself so that episodes of it can be written."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch

from orbit.core.actions import ActionComponent
from orbit.core.store.facts import WorldFacts
from orbit.core.store.manifest import FrameSpec


class World(Protocol):
    """A deterministic world that a group acts on, for N states at once.

    States (N, S) and actions (N, A) are float32. Every draw is a function of the seed, the
    number of the split in `SPLITS`, the episode and the time (see `data_prep.worlds.draws`),
    never of the episodes drawn beside it. The group commutes with the dynamics:

        step(act_on_state(s, g), act_on_action(a, g)) = act_on_state(step(s, a), g)

    for every element g, up to `tolerance`. Group elements are batches of
    `make_group(group)`, one for each row. Worlds are pickled to worker processes.
    """

    @property
    def name(self) -> str:
        """Name of the world, as in the manifest."""

    @property
    def group(self) -> str:
        """Specification of the group that acts on states and actions."""

    @property
    def action_components(self) -> tuple[ActionComponent, ...]:
        """What each number of an action means, A of them."""

    @property
    def frames(self) -> FrameSpec:
        """Shape and value coding of what one sees of a state."""

    @property
    def state_size(self) -> int:
        """S, the numbers of a state."""

    @property
    def state_meaning(self) -> str:
        """What the numbers of a state are, in words."""

    @property
    def tolerance(self) -> float:
        """Largest difference between two states or actions that are the same: 0 where the
        arithmetic is exact."""

    @property
    def can_render(self) -> bool:
        """False where a picture needs a file that is not at hand, as when a dataset is read."""

    @property
    def facts(self) -> WorldFacts:
        """What evaluation may know of states and actions, recorded in the manifest."""

    def reset(
        self, seed: int, split_number: int, episodes: np.ndarray, limited: bool
    ) -> np.ndarray:
        """First states (N, S) of the episodes (N,) int64; `limited` as for actions."""

    def draw_actions(
        self,
        seed: int,
        split_number: int,
        episodes: np.ndarray,
        time: int,
        states: np.ndarray,
        limited: bool,
    ) -> np.ndarray:
        """Actions (N, A) of a random policy; with `limited` from those that training may see."""

    def step(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """States (N, S) after the actions (N, A)."""

    def render(self, states: np.ndarray) -> np.ndarray:
        """Frames (N, C, H, W) of states. A frame that also shows the past needs it in the state."""

    def act_on_state(self, states: np.ndarray, g: torch.Tensor) -> np.ndarray:
        """States (N, S) moved by one group element each."""

    def act_on_action(self, actions: np.ndarray, g: torch.Tensor) -> np.ndarray:
        """Actions (N, A) moved by one group element each."""

    def action_names(self, actions: np.ndarray) -> list[str]:
        """A short name of each action, for pictures."""

    def checksums(self) -> Mapping[str, str]:
        """sha256 of each file the world was made from, by name without its directory."""

    def settings(self) -> Mapping[str, Any]:
        """What determines the world beside its name and its `facts.solid`, as plain values."""
