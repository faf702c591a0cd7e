"""Protects MuJoCo's Reacher as a world: its symmetry, its memory of nothing, its pictures.

Skipped where gymnasium[mujoco] is absent, pictures where there is no OpenGL library. What is said
in their absence is tested everywhere.
"""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.preparing import recipe_of

from data_prep.settings.sources import NoSourceConfig
from data_prep.settings.worlds import ReacherPlanarWorldConfig, ReacherWorldConfig
from data_prep.worlds import mujoco_arm
from data_prep.worlds.interface import World
from data_prep.worlds.make import make_world
from orbit.testing import check_world

HAS_MUJOCO = all(importlib.util.find_spec(name) for name in ("gymnasium", "mujoco"))
HAS_OPENGL = HAS_MUJOCO and mujoco_arm.MujocoArm().can_render
needs_mujoco = pytest.mark.skipif(not HAS_MUJOCO, reason="needs gymnasium[mujoco], extra reacher")
needs_opengl = pytest.mark.skipif(
    not HAS_OPENGL, reason="needs gymnasium[mujoco] and an OpenGL library (Debian: libegl1)"
)
WORDS = ("out=x", "dataset=reacher", "num_episodes=2")


def world_of_size(size: int = 33) -> World:
    return make_world(ReacherWorldConfig("reacher", size), None, NoSourceConfig())


def some_transitions(world: World, num: int) -> tuple[np.ndarray, np.ndarray]:
    episodes = np.arange(num)
    states = world.reset(1, 0, episodes, limited=False)
    return states, world.draw_actions(1, 0, episodes, 0, states, limited=False)


@needs_opengl
def test_it_keeps_the_laws_of_worlds() -> None:
    check_world(world_of_size(), num=16)


@needs_mujoco
def test_turns_and_mirrors_commute_with_the_simulator() -> None:
    """Velocities, goal and all: a twin is the turned episode, not one that begins like it."""
    world = world_of_size()
    states, actions = some_transitions(world, 30)
    for element in range(8):
        g = torch.full((30,), element)
        here, there = states, world.act_on_state(states, g)
        for _ in range(3):
            there = world.step(there, world.act_on_action(actions, g))
            here = world.step(here, actions)
            assert np.abs(there - world.act_on_state(here, g)).max() <= world.tolerance


@needs_mujoco
def test_a_step_depends_on_the_state_alone() -> None:
    world = world_of_size()
    states, actions = some_transitions(world, 20)
    after = world.step(states, actions)
    order = np.random.default_rng(0).permutation(20)
    assert np.array_equal(world.step(states[order], actions[order]), after[order])
    assert np.array_equal(after[:, 5:7], states[:, 5:7])
    assert np.array_equal(after[:, 7:], states[:, :3])


@needs_mujoco
def test_the_planar_arm_moves_as_the_simulated_one_between_its_stops() -> None:
    """Two implementations of one arm; float32 states are their only difference."""
    planar = make_world(ReacherPlanarWorldConfig("reacher_planar", 33), None, NoSourceConfig())
    states, _ = some_transitions(planar, 60)
    states[:, 2] = np.linspace(-1, 1, 60)
    simulated = world_of_size()
    here = there = states
    for time in range(4):
        actions = planar.draw_actions(1, 0, np.arange(60), time, here, limited=False)
        here, there = planar.step(here, actions), simulated.step(there, actions)
    free = np.abs(here[:, 2]) < 2.5
    assert free.sum() > 40
    assert np.abs(here[free] - there[free]).max() < 2e-5


@needs_opengl
def test_pictures_are_seen_by_one_camera_that_stands_still() -> None:
    world = world_of_size(65)
    states, actions = some_transitions(world, 3)
    frames, following = world.render(states), world.render(world.step(states, actions))
    assert frames.shape == (3, 6, 65, 65)
    assert np.array_equal(frames[:, 3:], following[:, :3])
    assert np.array_equal(world.render(states[2:])[0], frames[2])
    # Walls, far from the arm, are the same in all; more of them is seen near than far.
    assert (frames[:, :3, 50:] == frames[0, :3, 50:]).all()
    red = frames[0, 3].astype(int) - frames[0, 4]
    assert (red[40:] > 30).sum() > 1.3 * (red[:25] > 30).sum() > 0
    assert (frames[0, 3:] != frames[1, 3:]).sum() > 20
    # The turned arm is seen at an angle: its picture is not the turned picture.
    turned = world.render(world.act_on_state(states, torch.full((3,), 2)))
    assert (turned != np.rot90(frames, 2, (2, 3))).mean() > 0.05


@needs_opengl
def test_torch_can_be_loaded_after_a_picture_was_drawn() -> None:
    """Both bring an LLVM of their own, which crashed a process that drew first."""
    code = """
import numpy as np
from data_prep.worlds.mujoco_arm import MujocoArm
print(MujocoArm().paint(np.array([[1.0, 0.0]]), np.zeros(1), np.zeros((1, 2)), 16).std() > 5)
import torch._dynamo
print("loaded")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "loaded"], done.stderr


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found out about the machine is found out anew."""
    for name in ("_mujoco", "_why_no_pictures", "_simulator"):
        monkeypatch.setattr(mujoco_arm, name, getattr(mujoco_arm, name).__wrapped__)


@pytest.mark.usefixtures("forgotten")
def test_without_the_extra_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ValueError, match=r"dataset=reacher needs gymnasium: pip install") as error:
        recipe_of(*WORDS)
    assert "[reacher]" in str(error.value)
    assert "\n" not in str(error.value)
    # A dataset of others can still be described.
    world = world_of_size()
    assert not world.can_render
    assert world.action_names(np.zeros((1, 2))) == ["+0.0 +0.0"]


@needs_mujoco
@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("backend", ["egl", "nonsense"])
def test_without_opengl_one_line_names_the_library(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_library(name: str):
        if name == "triton":
            return
        raise AttributeError("'NoneType' object has no attribute 'eglQueryString'")

    monkeypatch.setenv("MUJOCO_GL", backend)
    if backend == "egl":
        monkeypatch.setattr(mujoco_arm, "import_module", no_library)
    with pytest.raises(ValueError, match=f"cannot draw with MUJOCO_GL={backend}: .*") as error:
        recipe_of(*WORDS)
    assert "libegl1 libgl1-mesa-dri" in str(error.value)
    assert "\n" not in str(error.value)
    assert not world_of_size().can_render
