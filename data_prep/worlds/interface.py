"""The interface of worlds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from data_prep.settings.sources import SourceConfig
from orbit.core.actions import ActionComponent
from orbit.core.plugins import Kind
from orbit.core.store.facts import WorldFacts
from orbit.core.store.manifest import FrameSpec


class World(Protocol):
    """A deterministic world on which a group acts, for N states at once.

    States (N, S) and actions (N, A) are float32. Every draw is a function of the seed, the number
    of the split in `SPLITS`, the episode and the time (see `data_prep.worlds.draws`), never of the
    other episodes that are drawn. The group commutes with the dynamics:

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
        """Shape and value coding of the pictures of states."""

    @property
    def state_size(self) -> int:
        """S, the numbers of a state."""

    @property
    def state_meaning(self) -> str:
        """What the numbers of a state are, in words."""

    @property
    def tolerance(self) -> float:
        """Largest difference between two states or actions that count as equal: 0 if the arithmetic
        is exact."""

    @property
    def can_render(self) -> bool:
        """False if pictures need a file that is missing, for example when only the dataset is
        there."""

    @property
    def facts(self) -> WorldFacts:
        """What evaluation may know about states and actions; recorded in the manifest."""

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
        """Actions (N, A) of a random policy; with `limited` only those to which training is
        limited."""

    def step(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """States (N, S) after the actions (N, A)."""

    def render(self, states: np.ndarray) -> np.ndarray:
        """Frames (N, C, H, W) of states. If a frame also shows the past, the state must hold it."""

    def act_on_state(self, states: np.ndarray, g: torch.Tensor) -> np.ndarray:
        """States (N, S) moved by one group element each."""

    def act_on_action(self, actions: np.ndarray, g: torch.Tensor) -> np.ndarray:
        """Actions (N, A) moved by one group element each."""

    def action_names(self, actions: np.ndarray) -> list[str]:
        """A short name of each action, for pictures."""

    def checksums(self) -> Mapping[str, str]:
        """sha256 of each file from which the world was made, by name without its directory."""

    def settings(self) -> Mapping[str, Any]:
        """The values that determine the world besides its name and its `facts.solid`, as plain
        values."""


@runtime_checkable
class Drawn(Protocol):
    """What worlds offer beside this whose pictures need more than Orbit brings."""

    def check_rendering(self) -> None:
        """Raise ValueError, saying what is missing, unless pictures can be made here."""


@dataclass(frozen=True)
class KindOfSource(Kind):
    """The `Kind` of a world that shows what a source holds.

    `make` takes a third argument: for a preparation what `read` makes of the settings of source and
    world, and where only the dataset is there what `recorded` finds in its facts, or None. `read`
    raises ValueError for a source that the world does not use.
    """

    read: Callable[[SourceConfig, Any], Any]
    recorded: Callable[[WorldFacts], Any]
