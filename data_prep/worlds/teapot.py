"""An object that turns in space: a teapot, or any other mesh (paper, 3D Teapot)."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch

from data_prep.rendering import Mesh, asymmetric_pot, is_closed, render_grey
from data_prep.rendering.packing import unpack_mesh
from data_prep.settings.continuous_worlds import TeapotWorldConfig
from data_prep.store.manifest import SPLITS, FrameSpec
from data_prep.worlds.draws import DrawKey, integers
from data_prep.worlds.held_out import is_held_out
from data_prep.worlds.rotations import (
    conjugated,
    draw_rotations,
    orthogonal,
    product,
    to_matrices,
)
from data_prep.worlds.sine_cosine import sine_cosine
from data_prep.worlds.teapot_mesh import PackedMesh
from pipeline.groups import make_group, quaternions

NUM_STEPS_A_TURN = 30
AXES = np.eye(3)
TURNS = ("haar", "small")
RESET_STREAM, ACTION_STREAM, NUM_STREAMS = 0, 1, 2
SPLITS_HELD_BACK = (SPLITS.index("train"), SPLITS.index("val"))
TOLERANCE = 2e-6
"""Of states, rotation matrices in float32, and of actions."""


class Teapot:
    """An object in an orientation R, which an action a turns to a R; see
    `data_prep.worlds.interface.World`.

    SO(3) turns the object, g R, and with it the axes of actions, g a g^-1 (Park et al., "Learning
    Symmetric Embeddings for Equivariant World Models", Section 4): the camera stays.
    Without a `mesh` it is the generated pot.
    """

    name, group = "teapot", "so3"
    action_components = make_group("so3").action_components
    state_size = 9
    state_meaning = "rotation matrix of the orientation, row by row"
    tolerance = TOLERANCE
    can_render = True

    def __init__(
        self,
        config: TeapotWorldConfig,
        actions: tuple[str, ...] | None,
        mesh: PackedMesh | None = None,
    ) -> None:
        self._config, self._mesh = config, mesh
        self._limited_turns = _limited_turns(actions, config.turns)
        self._is_limited = actions is not None
        self.frames = FrameSpec((1, config.size, config.size), "uint8", (0.0, 255.0), (0.0, 1.0))
        _solid(mesh.text if mesh else None)

    def reset(
        self, seed: int, split_number: int, episodes: np.ndarray, limited: bool
    ) -> np.ndarray:
        def draw(attempt: int, rows: np.ndarray) -> np.ndarray:
            stream = RESET_STREAM + NUM_STREAMS * attempt
            key = DrawKey(seed, split_number, stream)
            return _as_states(to_matrices(draw_rotations(key, episodes[rows])))

        return self._redrawn(draw, lambda states, rows: states, split_number, len(episodes))

    def draw_actions(
        self,
        seed: int,
        split_number: int,
        episodes: np.ndarray,
        time: int,
        states: np.ndarray,
        limited: bool,
    ) -> np.ndarray:
        turns = self._limited_turns if limited else self._config.turns

        def draw(attempt: int, rows: np.ndarray) -> np.ndarray:
            stream = ACTION_STREAM + NUM_STREAMS * attempt
            key = DrawKey(seed, split_number, stream, time)
            return _draw_turns(turns, key, episodes[rows])

        def following(actions: np.ndarray, rows: np.ndarray) -> np.ndarray:
            return self.step(states[rows], actions)

        return self._redrawn(draw, following, split_number, len(episodes))

    def is_allowed(self, actions: np.ndarray) -> np.ndarray:
        if not self._is_limited or self._limited_turns == "haar":
            return np.ones(len(actions), bool)
        apart = np.abs(actions[:, None] - small_turns()).max(-1)
        return np.asarray(apart.min(1) <= TOLERANCE)

    def step(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        after = orthogonal(product(to_matrices(actions), _as_matrices(states)))
        return _as_states(after, states.dtype)

    def render(self, states: np.ndarray) -> np.ndarray:
        mesh, closed = _solid(self._mesh.text if self._mesh else None)
        return render_grey(mesh, _as_matrices(states), self._config.size, closed)

    def act_on_state(self, states: np.ndarray, g: torch.Tensor) -> np.ndarray:
        turned = product(to_matrices(g.numpy()), _as_matrices(states))
        return _as_states(turned, states.dtype)

    def act_on_action(self, actions: np.ndarray, g: torch.Tensor) -> np.ndarray:
        return conjugated(actions, g.numpy()).clip(-1, 1).astype(actions.dtype)

    def action_names(self, actions: np.ndarray) -> list[str]:
        return [quaternions.name(torch.from_numpy(q)) for q in actions.astype(np.float64)]

    def checksums(self) -> dict[str, str]:
        return {} if self._mesh is None else self._mesh.checksums

    def settings(self) -> dict[str, Any]:
        held_out = self._config.held_out
        return {
            "size": self._config.size,
            "turns": self._config.turns,
            "held_out": None
            if held_out is None
            else {
                "degrees": held_out.degrees,
                "axis": list(held_out.axis),
                "towards": list(held_out.towards),
            },
            **({} if self._mesh is None else {"mesh": self._mesh.text}),
        }

    def _redrawn(
        self,
        draw: Callable[[int, np.ndarray], np.ndarray],
        leads_to: Callable[[np.ndarray, np.ndarray], np.ndarray],
        split_number: int,
        num: int,
    ) -> np.ndarray:
        """What is drawn for each of `num` rows; where it leads to an orientation that is held
        out of the split, the first further attempt that does not."""
        held_out, rows = self._config.held_out, np.arange(num)
        drawn, attempt = draw(0, rows), 0
        if held_out is None or split_number not in SPLITS_HELD_BACK:
            return drawn
        rows = rows[is_held_out(leads_to(drawn, rows), held_out)]
        while len(rows):
            attempt += 1
            drawn[rows] = draw(attempt, rows)
            rows = rows[is_held_out(leads_to(drawn[rows], rows), held_out)]
        return drawn


@cache
def small_turns() -> np.ndarray:
    """The six turns by 2 pi / 30 one way or the other about x, y and z, float32 (6, 4)."""
    sine, cosine = sine_cosine(np.array(np.pi / NUM_STEPS_A_TURN))
    signed = np.concatenate([AXES, -AXES])
    return np.concatenate([np.full((6, 1), cosine), sine * signed], 1).astype(np.float32)


def _draw_turns(turns: str, key: DrawKey, episodes: np.ndarray) -> np.ndarray:
    if turns == "haar":
        return draw_rotations(key, episodes).astype(np.float32)
    small = small_turns()
    return np.asarray(small[integers(key, episodes, (len(small),))[:, 0]])


def _limited_turns(actions: tuple[str, ...] | None, turns: str) -> str:
    """The turns of training: those of `dataset.actions`, or of the world."""
    if actions is None:
        return turns
    if len(actions) != 1 or actions[0] not in TURNS:
        raise ValueError(
            f"dataset.actions=[{','.join(actions)}] is not allowed; allowed: {' or '.join(TURNS)}"
        )
    if (turns, actions[0]) == ("small", "haar"):
        raise ValueError(
            "dataset.actions=haar is more than dataset.world.turns=small, the world's own actions"
        )
    return actions[0]


def _as_matrices(states: np.ndarray) -> np.ndarray:
    return states.astype(np.float64).reshape(len(states), 3, 3)


def _as_states(matrices: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
    return matrices.reshape(len(matrices), 9).astype(dtype)


@cache
def _solid(text: str | None) -> tuple[Mesh, bool]:
    """The mesh, and whether it is closed."""
    mesh = asymmetric_pot() if text is None else unpack_mesh(text)
    return mesh, is_closed(mesh)
