"""An object that turns in space: its mesh, its rotations and its frames.

All is sums, products and roots of single numbers, so that results are the same on every machine.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_prep.rendering import Mesh, asymmetric_pot, is_closed, make_mesh, render_grey
from data_prep.rendering.rasteriser import pack_mesh, unpack_mesh
from data_prep.settings.sources import MeshSourceConfig, NoSourceConfig, SourceConfig
from data_prep.settings.worlds import TeapotWorldConfig
from data_prep.worlds.draws import DrawKey, integers, is_held_out, uniforms
from data_prep.worlds.reacher import sine_cosine
from orbit.core.files.atomic import sha256_of_file
from orbit.core.groups import make_group, quaternions
from orbit.core.reading.meshes import read_obj
from orbit.core.store.manifest import SPLITS, FrameSpec


def to_matrices(quaternions: np.ndarray) -> np.ndarray:
    """Rotation matrices of quaternions (N, 4), (w, x, y, z), of any length."""
    q = np.asarray(quaternions, np.float64)
    w, x, y, z = (q / np.sqrt((q * q).sum(-1, keepdims=True))).T
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, -1) for row in rows], -2)


def product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Matrix products, written out: a library's may round by the size of the batch."""
    parts = [first[..., k, None] * second[..., k, None, :] for k in range(3)]
    return np.asarray(parts[0] + parts[1] + parts[2])


def orthogonal(matrices: np.ndarray) -> np.ndarray:
    """Rotations nearest to matrices that are rotations up to rounding: M (3 - M^T M) / 2."""
    square = product(matrices.swapaxes(-1, -2), matrices)
    return product(matrices, 1.5 * np.eye(3) - 0.5 * square)


def conjugated(quaternions: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Quaternions of the rotations g a g^-1, float64 (N, 4), for a (N, 4) and g (N, 4).

    The angle stays, so the real part of a stays bit for bit, and with it the choice of sign;
    g turns the axis.
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
    """A mesh as text (see `data_prep.rendering.rasteriser`), and sha256 of its file by name."""

    text: str
    checksums: dict[str, str] = field(default_factory=dict)


def read_source(source: SourceConfig) -> PackedMesh | None:
    """The mesh of a source; None, for the generated pot, without one.

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
