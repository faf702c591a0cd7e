"""A world under a continuous group, for tests of what depends on no particular world."""

import numpy as np
import torch

from orbit.core.groups import make_group
from orbit.core.store.facts import WorldFacts
from orbit.core.store.manifest import FrameSpec


class Spinner:
    """A world under a continuous group: a direction that actions turn about its own axes."""

    name, group = "spinner", "so3"
    frames = FrameSpec((1, 4, 4), "uint8", (0.0, 255.0), (0.0, 1.0))
    action_components = make_group("so3").action_components
    state_size, state_meaning, tolerance, can_render = 4, "a quaternion", 1e-5, True
    facts = WorldFacts()

    def reset(self, seed: int, split: int, episodes: np.ndarray, limited: bool) -> np.ndarray:
        return make_group("so3").sample(np.random.default_rng(seed), len(episodes)).numpy()

    def draw_actions(self, seed, split, episodes, time, states, limited) -> np.ndarray:
        return make_group("so3").sample(np.random.default_rng(time), len(episodes)).numpy()

    def step(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        so3 = make_group("so3")
        return so3.compose(torch.from_numpy(actions), torch.from_numpy(states)).numpy()

    def render(self, states: np.ndarray) -> np.ndarray:
        return np.zeros((len(states), 1, 4, 4), np.uint8)

    def act_on_state(self, states: np.ndarray, g: torch.Tensor) -> np.ndarray:
        return make_group("so3").compose(g, torch.from_numpy(states)).numpy()

    def act_on_action(self, actions: np.ndarray, g: torch.Tensor) -> np.ndarray:
        so3 = make_group("so3")
        a = torch.from_numpy(actions)
        return so3.encode(so3.compose(so3.compose(g, a), so3.inverse(g))).numpy()

    def checksums(self) -> dict[str, str]:
        return {"a.obj": "00"}

    def settings(self) -> dict[str, str]:
        return {}
