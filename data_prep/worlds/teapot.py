"""An object that turns in space: its mesh, its rotations and its frames.

As in `orbit.core.rendering.solid`, it uses only sums, products and roots of single numbers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_prep.settings.sources import MeshSourceConfig, NoSourceConfig, SourceConfig
from data_prep.settings.worlds import TeapotWorldConfig
from data_prep.worlds.draws import DrawKey, integers, uniforms
from data_prep.worlds.interface import KindOfSource
from data_prep.worlds.reacher import sine_cosine
from orbit.core.files.atomic import sha256_of_file
from orbit.core.groups import make_group, quaternions
from orbit.core.reading.meshes import read_obj
from orbit.core.rendering import make_mesh
from orbit.core.rendering.rasteriser import pack_mesh
from orbit.core.rendering.solid import (
    as_matrices,
    as_states,
    draw_solid,
    mesh_of,
    product,
    to_matrices,
    turned,
)
from orbit.core.store.facts import (
    ListedActions,
    RangeOfActions,
    SeenActions,
    Solid,
    WorldFacts,
)
from orbit.core.store.manifest import SPLITS, FrameSpec


def conjugated(quaternions: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Quaternions of the rotations g a g^-1, float64 (N, 4), for a (N, 4) and g (N, 4).

    The angle does not change, so the real part of a keeps its bits, and with it the sign; g turns
    the axis.
    """
    a = np.asarray(quaternions, np.float64)
    axis = product(to_matrices(by), a[:, 1:, None])[..., 0]
    return np.concatenate([a[:, :1], axis], -1)


def draw_rotations(key: DrawKey, episodes: np.ndarray) -> np.ndarray:
    """Uniform (Haar) quaternions (N, 4) with positive real part (Shoemake, Graphics Gems III)."""
    share, first, second = uniforms(key, episodes, 3).T
    sine_1, cosine_1 = sine_cosine(2 * math.pi * first)
    sine_2, cosine_2 = sine_cosine(2 * math.pi * second)
    inner, outer = np.sqrt(1 - share), np.sqrt(share)
    q = np.stack([outer * cosine_2, inner * sine_1, inner * cosine_1, outer * sine_2], -1)
    return np.where(q[:, :1] < 0, -q, q)


@dataclass(frozen=True)
class PackedMesh:
    """A mesh as text (see `orbit.core.rendering.rasteriser`), and sha256 of its file by name."""

    text: str
    checksums: dict[str, str] = field(default_factory=dict)


def read_source(source: SourceConfig) -> PackedMesh | None:
    """The mesh of a source; None, meaning the generated pot, if there is no source.

    Raises FileNotFoundError if there is no such file, ValueError naming it if it cannot be used.
    """
    if isinstance(source, NoSourceConfig):
        return None
    if not isinstance(source, MeshSourceConfig):
        raise ValueError(f"source={source.name} has no effect: teapot turns one mesh, source=mesh")
    if source.root is None:
        raise ValueError("give source.root=FILE.obj, the object to turn")
    path = Path(source.root)
    if not path.is_file():
        raise FileNotFoundError(f"source.root={path}: there is no such file")
    vertices, faces = read_obj(path)
    try:
        make_mesh(vertices, faces)
        text = pack_mesh(vertices, faces)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return PackedMesh(text, {path.name: sha256_of_file(path)})


NUM_STEPS_A_TURN = 30
AXES = np.eye(3)
TURNS = ("haar", "small")
RESET_STREAM, ACTION_STREAM, NUM_STREAMS = 0, 1, 2
SPLITS_HELD_BACK = (SPLITS.index("train"), SPLITS.index("val"))
TOLERANCE = 2e-6
"""Rounding of the entries of rotation matrices in float32: of states and of actions."""


class Teapot:
    """An object with an orientation R, which an action a turns to a R; see
    `data_prep.worlds.interface.World`.

    SO(3) turns the object, g R, and the axes of actions, g a g^-1 (Park et al., "Learning Symmetric
    Embeddings for Equivariant World Models", Section 4): the camera does not move. Without a `mesh`
    the object is the generated pot.
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
        self._solid = Solid(config.size, mesh.text if mesh else None)
        mesh_of(self._solid.mesh)

    def reset(
        self, seed: int, split_number: int, episodes: np.ndarray, limited: bool
    ) -> np.ndarray:
        def draw(attempt: int, rows: np.ndarray) -> np.ndarray:
            stream = RESET_STREAM + NUM_STREAMS * attempt
            key = DrawKey(seed, split_number, stream)
            return as_states(to_matrices(draw_rotations(key, episodes[rows])))

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

    def step(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        return turned(states, actions)

    def render(self, states: np.ndarray) -> np.ndarray:
        return draw_solid(self._solid, states)

    def act_on_state(self, states: np.ndarray, g: torch.Tensor) -> np.ndarray:
        return as_states(product(to_matrices(g.numpy()), as_matrices(states)), states.dtype)

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
        }

    @property
    def facts(self) -> WorldFacts:
        return WorldFacts(
            seen_actions=self._seen_actions() if self._is_limited else None,
            held_out=self._config.held_out,
            solid=self._solid,
        )

    def _seen_actions(self) -> SeenActions:
        if self._limited_turns == "haar":
            return RangeOfActions("range", (-1.0,) * 4, (1.0,) * 4)
        return ListedActions("listed", tuple(map(tuple, small_turns().tolist())), TOLERANCE)

    def _redrawn(
        self,
        draw: Callable[[int, np.ndarray], np.ndarray],
        leads_to: Callable[[np.ndarray, np.ndarray], np.ndarray],
        split_number: int,
        num: int,
    ) -> np.ndarray:
        """A draw for each of `num` rows; if it leads to an orientation that is held out, the first
        further draw that does not."""
        held_out, rows = self._config.held_out, np.arange(num)
        drawn, attempt = draw(0, rows), 0
        if held_out is None or split_number not in SPLITS_HELD_BACK:
            return drawn
        rows = rows[held_out.include(leads_to(drawn, rows))]
        while len(rows):
            attempt += 1
            drawn[rows] = draw(attempt, rows)
            rows = rows[held_out.include(leads_to(drawn[rows], rows))]
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
    """The actions of training: those of `dataset.actions`, or all of the world."""
    if actions is None:
        return turns
    if len(actions) != 1 or actions[0] not in TURNS:
        raise ValueError(
            f"dataset.actions=[{','.join(actions)}] is not allowed; allowed: {' or '.join(TURNS)}"
        )
    if (turns, actions[0]) == ("small", "haar"):
        raise ValueError(
            "dataset.actions=haar draws turns that dataset.world.turns=small leaves out"
        )
    return actions[0]


WORLD = KindOfSource(
    "teapot",
    TeapotWorldConfig,
    Teapot,
    lambda source, config: read_source(source),
    lambda facts: PackedMesh(facts.solid.mesh) if facts.solid and facts.solid.mesh else None,
)
