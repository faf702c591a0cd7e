"""The arm of `reacher`: gymnasium's Reacher, simulated and drawn by MuJoCo.

Every step starts from the state alone: velocities and goal are set with the angles, and the
simulator's memory is cleared, so that a turned state moves like the turned arm. The camera is
MuJoCo's own, which looks down at 45 degrees, but fixed above the first joint; gymnasium would place
it by the first state that it draws.
"""

import contextlib
import os
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from PIL import Image

from data_prep.settings.worlds import ReacherWorldConfig
from data_prep.worlds.reacher import Reacher
from orbit.core.plugins import Kind
from orbit.core.reading.files import import_extra

RENDERED_SIDE, CROP = 500, slice(50, 450)
"""In pixels; pictures are cut out, then resized by area, as in the authors' code."""
LOOK_AT = (0.0, 0.0, 0.01)
NUM_STEPS_AN_ACTION = 2
TOLERANCE = 1e-4
"""For states in float32, whose velocities reach tens of radians per second."""


class MujocoArm:
    """See `data_prep.worlds.reacher.Arm`.

    Methods raise a one-line ValueError if gymnasium, MuJoCo or an OpenGL library is missing.
    """

    tolerance = TOLERANCE

    @property
    def can_render(self) -> bool:
        return _why_no_pictures() is None

    def check_rendering(self) -> None:
        """Raise ValueError, saying what is missing, unless pictures can be made here."""
        if reason := _why_no_pictures():
            raise ValueError(reason)

    def advance(self, arms: np.ndarray, torques: np.ndarray) -> np.ndarray:
        env, set_state = _simulator()
        after = np.empty((len(arms), 5))
        angles = np.arctan2(arms[:, 1], arms[:, 0])
        for row, (arm, angle, torque) in enumerate(zip(arms, angles, torques, strict=True)):
            set_state(np.array([angle, arm[2], *arm[5:]]), np.array([*arm[3:5], 0.0, 0.0]))
            env.do_simulation(torque, NUM_STEPS_AN_ACTION)
            angle, bend = env.data.qpos[:2]
            after[row] = np.cos(angle), np.sin(angle), bend, *env.data.qvel[:2]
        return after

    def paint(
        self, direction: np.ndarray, bend: np.ndarray, goal: np.ndarray, size: int
    ) -> np.ndarray:
        self.check_rendering()
        env, set_state = _simulator()
        pictures = np.empty((len(bend), 3, size, size), np.uint8)
        angles = np.arctan2(direction[:, 1], direction[:, 0])
        for row, (angle, fold, place) in enumerate(zip(angles, bend, goal, strict=True)):
            set_state(np.array([angle, fold, *place]), np.zeros(4))
            seen = Image.fromarray(np.ascontiguousarray(env.render()[CROP, CROP]))
            small = seen.resize((size, size), Image.Resampling.BOX)
            pictures[row] = np.moveaxis(np.asarray(small), -1, 0)
        return pictures


@cache
def _why_no_pictures() -> str | None:
    """What is missing for pictures, None for nothing. Call it once, before anything is drawn: the
    trial leaves no current OpenGL context."""
    try:
        mujoco = _mujoco()
    except ValueError as error:
        return str(error)
    backend = os.environ.setdefault("MUJOCO_GL", "egl")
    # Software OpenGL and triton, which torch may load at any time, both contain LLVM. A process
    # that loads triton second crashes.
    with contextlib.suppress(ImportError):
        import_module("triton")
    try:
        context = import_module(f"{mujoco.__name__}.{backend}").GLContext(16, 16)
        context.make_current()
        nothing = mujoco.MjModel.from_xml_string("<mujoco/>")
        mujoco.MjrContext(nothing, mujoco.mjtFontScale.mjFONTSCALE_100).free()
        context.free()
    except Exception as error:  # Each backend, and each missing part, fails in its own way.
        cause = " ".join(str(error).split()) or type(error).__name__
        return (
            f"dataset=reacher cannot draw with MUJOCO_GL={backend}: {cause}; install libEGL"
            " (Debian: libegl1 libgl1-mesa-dri), or take dataset=reacher_planar"
        )
    return None


@cache
def _mujoco() -> Any:
    import_extra("gymnasium", "reacher", "reacher", "dataset")
    try:
        return import_extra("mujoco", "reacher", "reacher", "dataset")
    except (AttributeError, ImportError, OSError, RuntimeError) as error:
        # With MUJOCO_GL set, even its import needs that library.
        cause = " ".join(str(error).split())
        backend = os.environ.get("MUJOCO_GL", "")
        raise ValueError(
            f"dataset=reacher cannot load MuJoCo with MUJOCO_GL={backend}: {cause}"
        ) from None


@cache
def _simulator() -> tuple[Any, Callable[[np.ndarray, np.ndarray], None]]:
    """gymnasium's environment, one per process, and the function that sets positions and
    velocities."""
    mujoco = _mujoco()
    gymnasium = import_extra("gymnasium", "reacher", "reacher", "dataset")
    env = gymnasium.make(
        "Reacher-v5",
        render_mode="rgb_array",
        width=RENDERED_SIDE,
        height=RENDERED_SIDE,
        default_camera_config={"lookat": np.array(LOOK_AT)},
    ).unwrapped
    env.reset(seed=0)

    def set_state(positions: np.ndarray, velocities: np.ndarray) -> None:
        mujoco.mj_resetData(env.model, env.data)
        env.set_state(positions, velocities)

    return env, set_state


WORLD = Kind(
    "reacher",
    ReacherWorldConfig,
    lambda config, actions: Reacher(
        config.name, MujocoArm(), config.size, actions, config.num_frames, config.frame_gap
    ),
)
