"""Protects the object that turns in space: its laws to rounding, draws, held-out poses, meshes."""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.episodes import in_order
from helpers.preparing import all_records, column, prepare, recipe_of
from helpers.programs import call

from data_prep.settings.sources import NoSourceConfig
from data_prep.settings.worlds import HeldOut, TeapotWorldConfig
from data_prep.worlds import teapot as rotations
from data_prep.worlds.draws import DrawKey
from data_prep.worlds.make import make_world, world_of
from data_prep.worlds.teapot import Teapot, small_turns
from orbit.core.groups import make_group, quaternions
from orbit.core.store.manifest import SPLITS
from orbit.core.store.reader import PairStore

SO3 = make_group("so3")
CAP = HeldOut(40.0, (1.0, 2.0, 0.0), (0.0, 0.0, 3.0))
SMALL_DATASET = ("dataset.num_test_episodes=3", "dataset.world.size=24", "seed=3")
TETRAHEDRON = """\
v 0 0 0
v 1 0 0
v 0 1 0
v 0 0 2
f 1 3 2
f 1 2 4
f 1 4 3
f 2 3 4
"""


def teapot(actions: tuple[str, ...] | None = None, **settings) -> Teapot:
    world = make_world(TeapotWorldConfig("teapot", **settings), actions, NoSourceConfig())
    assert isinstance(world, Teapot)
    return world


def some_transitions(world: Teapot, num: int = 200) -> tuple[np.ndarray, np.ndarray]:
    episodes = np.arange(num)
    states = world.reset(1, 0, episodes, limited=False)
    return states, world.draw_actions(1, 0, episodes, 0, states, limited=False)


def elements(num: int, seed: int = 0) -> torch.Tensor:
    return SO3.sample(np.random.default_rng(seed), num)


def exact(num: int, seed: int) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    """States, actions and elements in float64, of unit length in it."""
    q = np.random.default_rng(seed).standard_normal((3, num, 4))
    q /= np.linalg.norm(q, axis=-1, keepdims=True)
    return rotations.to_matrices(q[0]).reshape(num, 9), q[1], torch.from_numpy(q[2])


def test_the_group_commutes_with_every_step_to_rounding() -> None:
    """In float64 to its rounding; in float32, as states are stored, to the stated tolerance."""
    world = teapot()
    stored = (*some_transitions(world, 500), elements(500))
    for (states, actions, g), limit in ((exact(500, 0), 1e-14), (stored, world.tolerance)):
        turned_first = world.step(world.act_on_state(states, g), world.act_on_action(actions, g))
        apart = np.abs(turned_first - world.act_on_state(world.step(states, actions), g))
        assert 0 < apart.max() <= limit
        assert turned_first.dtype == states.dtype


def test_states_and_actions_carry_left_actions_of_the_group() -> None:
    world = teapot()
    states, actions, g = exact(300, 1)
    h = exact(300, 2)[2]
    for act, rows in ((world.act_on_state, states), (world.act_on_action, actions)):
        one = SO3.identity(300).double()
        assert np.abs(act(rows, one) - rows).max() < 1e-15
        assert np.abs(act(act(rows, h), g) - act(rows, SO3.compose(g, h))).max() < 1e-14
        assert np.array_equal(act(rows[5:6], g[5:6])[0], act(rows, g)[5])


def test_states_actions_and_steps_are_those_of_the_group() -> None:
    """R, a and g as the pipeline knows them: a R, g R, g a g^-1."""
    world = teapot()
    states, actions, g = exact(100, 3)
    a = torch.from_numpy(actions)
    matrix = torch.from_numpy(states).view(-1, 3, 3)
    stepped = (quaternions.to_matrix(a) @ matrix).numpy().reshape(-1, 9)
    assert np.abs(world.step(states, actions) - stepped).max() < 1e-14
    turned = (quaternions.to_matrix(g) @ matrix).numpy().reshape(-1, 9)
    assert np.abs(world.act_on_state(states, g) - turned).max() < 1e-14
    conjugate = SO3.compose(SO3.compose(g, a), SO3.inverse(g)).numpy()
    assert np.abs(world.act_on_action(actions, g) - conjugate).max() < 1e-14
    # What is stored is what the group encodes, signs and range included.
    stored = some_transitions(world)[1]
    moved = world.act_on_action(stored, elements(200))
    for codes in (stored, moved):
        assert np.array_equal(SO3.encode(torch.from_numpy(codes)).numpy(), codes)
        assert np.abs(np.linalg.norm(codes, axis=1) - 1).max() < 3e-7
    assert np.array_equal(moved[:, 0], stored[:, 0])


def test_a_long_walk_keeps_rotations_rotations() -> None:
    world = teapot()
    states = world.reset(1, 0, np.arange(20), limited=False)
    for time in range(300):
        actions = world.draw_actions(1, 0, np.arange(20), time, states, limited=False)
        states = world.step(states, actions)
    matrix = states.reshape(-1, 3, 3).astype(np.float64)
    assert np.abs(matrix @ matrix.swapaxes(1, 2) - np.eye(3)).max() < 1e-6
    assert np.linalg.det(matrix).min() > 0.999


def test_thirty_small_turns_about_an_axis_are_none() -> None:
    world = teapot()
    start = world.reset(1, 0, np.arange(6), limited=False)
    states = start
    for _ in range(30):
        states = world.step(states, small_turns())
    assert np.abs(states - start).max() < 5e-6
    angle = quaternions.angle(torch.from_numpy(small_turns()))
    assert np.allclose(angle, 2 * math.pi / 30, atol=1e-6)
    axes = quaternions.rotation_vector(torch.from_numpy(small_turns())).numpy()
    assert np.allclose(axes / angle[:, None].numpy(), np.concatenate([np.eye(3), -np.eye(3)]))


def test_orientations_and_actions_are_uniform_over_all_rotations() -> None:
    """By their angle, whose density is (1 - cos) / pi, and by where they turn the axes."""
    q = rotations.draw_rotations(DrawKey(0, 0, 0), np.arange(20_000))
    assert np.abs(np.linalg.norm(q, axis=1) - 1).max() < 1e-14
    assert (q[:, 0] >= 0).all()
    angle = 2 * np.arccos(q[:, 0].clip(0, 1))
    for limit in (0.5, 1.5, 2.5):
        expected = (limit - math.sin(limit)) / math.pi
        assert abs((angle < limit).mean() - expected) < 0.012
    matrix = rotations.to_matrices(q)
    assert np.abs(matrix.mean(0)).max() < 0.02
    assert np.abs((matrix**2).mean(0) - 1 / 3).max() < 0.012
    assert np.abs(np.einsum("nij,nkl->ijkl", matrix, matrix)[0, 1, 1, 0]) / 20_000 < 0.02
    world = teapot()
    states, actions = some_transitions(world, 5000)
    assert np.abs(states.mean(0)).max() < 0.04
    assert abs(np.corrcoef(states[:, 0], actions[:, 0])[0, 1]) < 0.05


def test_draws_do_not_depend_on_those_beside_them() -> None:
    for world in (teapot(), teapot(turns="small", held_out=CAP)):
        states = world.reset(1, 0, np.arange(50), limited=False)
        actions = world.draw_actions(1, 0, np.arange(50), 2, states, limited=False)
        for row in (0, 31):
            part = np.array([row])
            assert np.array_equal(world.reset(1, 0, part, False)[0], states[row])
            alone = world.draw_actions(1, 0, part, 2, states[part], False)
            assert np.array_equal(alone[0], actions[row])
        assert not np.array_equal(world.reset(1, 2, np.arange(50), False), states)


def test_small_turns_are_the_worlds_actions_or_those_of_training_alone() -> None:
    states = teapot().reset(1, 0, np.arange(300), limited=False)
    everywhere, in_training = teapot(turns="small"), teapot(("small",))
    args = (1, 0, np.arange(300), 0, states)
    drawn = everywhere.draw_actions(*args, False)
    assert len(np.unique(drawn, axis=0)) == 6
    assert np.array_equal(in_training.draw_actions(*args, True), drawn)
    free = in_training.draw_actions(*args, False)
    assert len(np.unique(free, axis=0)) == 300
    seen = in_training.facts.seen_actions
    assert seen is not None
    assert seen.include(drawn).all()
    assert not seen.include(free).any()
    assert teapot().facts.seen_actions is None is everywhere.facts.seen_actions
    all_turns = teapot(("haar",)).facts.seen_actions
    assert all_turns is not None
    assert all_turns.include(free).all()
    assert np.array_equal(teapot(("haar",)).draw_actions(*args, True), free)


@pytest.mark.parametrize("turns", ["haar", "small"])
def test_orientations_can_be_held_out_of_training(turns: str) -> None:
    world = teapot(turns=turns, held_out=CAP)
    share = (1 - math.cos(math.radians(40))) / 2
    episodes = np.arange(3000)
    for split in range(3):
        states = world.reset(1, split, episodes, limited=False)
        seen = [states]
        for time in range(3):
            actions = world.draw_actions(1, split, episodes, time, seen[-1], limited=False)
            seen.append(world.step(seen[-1], actions))
        hidden = CAP.include(np.concatenate(seen))
        if SPLITS[split] == "test":
            assert abs(hidden.mean() - share) < 0.02
        else:
            assert not hidden.any()
    # The axis is the object's own, the direction that of the picture.
    upright = np.eye(3).reshape(1, 9)
    towards_viewer = HeldOut(10.0, (0.0, 0.0, 1.0), (0.0, 0.0, 1.0))
    assert towards_viewer.include(upright).all()
    assert not HeldOut(10.0).include(upright).any()
    tipped = quaternions.to_matrix(quaternions.from_axis((1, 0, 0), 90)).numpy().reshape(1, 9)
    assert HeldOut(10.0).include(tipped).all()


def test_the_camera_stays_when_the_object_turns() -> None:
    """x is to the right, y up, z to the viewer, and turns are anticlockwise to the eye."""
    world = teapot(size=65)
    upright = np.eye(3, dtype=np.float32).reshape(1, 9)
    picture = world.render(upright)[0, 0].astype(float)
    columns = np.arange(65) - 32
    # The spout leads to the right and up, the loop to the left.
    outline = picture > 0
    assert columns[outline.any(0)].max() > 28
    assert columns[outline.any(0)].min() < -26
    tip, loop = (np.flatnonzero(outline[:, 32 + side]).mean() for side in (27, -24))
    assert tip < loop - 3
    quarter = SO3.encode(quaternions.from_axis((0, 0, 1), 90)[None]).numpy()
    turned = world.render(world.step(upright, quarter))[0, 0] > 0
    assert (turned != np.rot90(outline)).mean() < 0.01


def test_a_dataset_is_verified_shown_and_known_again(tmp_path: Path) -> None:
    words = ("dataset=teapot", "num_samples=7", *SMALL_DATASET, "dataset.num_twins=2")
    store = prepare(tmp_path / "out", *words, "dataset.world.held_out.degrees=50")
    outcome = call("data_prep/verify.py", str(store.root))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[2].endswith("9 simulated again")
    shown = call("data_prep/show.py", str(store.root))
    assert "9 records (3 episodes of 1 step, each with 2 transforms of it)" in shown.out
    world = world_of(store.manifest)
    assert world.settings()["held_out"]["degrees"] == 50.0
    frames = all_records(store, "test").source
    assert np.array_equal(frames, world.render(column(store, "test", "state")))
    g = in_order(store, "test", column(store, "test", "group_element"))[:, :, 0]
    assert np.array_equal(g[:, 0], np.tile([1, 0, 0, 0], (3, 1)))
    assert np.array_equal(g[0], g[1])
    assert len(np.unique(g[:, 1:].reshape(-1, 4), axis=0)) == 2 * 2


def test_another_mesh_is_kept_with_the_dataset(tmp_path: Path) -> None:
    """Evaluation and verification draw further poses when its file is gone."""
    file = tmp_path / "solid.obj"
    file.write_text(TETRAHEDRON)
    words = ("dataset=teapot_small", "num_samples=4", "source=mesh", f"source.root={file}")
    store = prepare(tmp_path / "out", *words, *SMALL_DATASET)
    assert list(store.manifest.source_checksums) == ["solid.obj"]
    file.unlink()
    assert call("data_prep/verify.py", str(store.root)).code == 0
    world = world_of(PairStore(store.root).manifest)
    states = column(store, "train", "state")
    assert np.array_equal(world.render(states), all_records(store, "train").source)
    assert not np.array_equal(world.render(states), teapot(size=24).render(states))
    said = call("data_prep/show.py", str(store.root), f"out={tmp_path}/sheet.png").out
    assert max(map(len, said.splitlines())) < 400
    manifest = json.loads((store.root / "manifest.json").read_text())
    assert manifest["origin"]["world"]["settings"]["turns"] == "small"


SOURCE = ("dataset=teapot", "source=mesh")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("dataset=teapot", "dataset.actions=up"), r"actions=\[up\] is not allowed; allowed: haar"),
        (("dataset=teapot", "dataset.actions=[haar,small]"), "allowed: haar or small"),
        (
            ("dataset=teapot_small", "dataset.actions=haar"),
            "that dataset.world.turns=small leaves out",
        ),
        (("dataset=teapot", "dataset.world.turns=large"), "allowed: haar, small"),
        (("dataset=teapot", "dataset.world.held_out.degrees=0"), "degrees=0.0 must lie above 0"),
        (("dataset=teapot", "dataset.world.held_out.axis=[0,0,1]"), "held_out.degrees"),
        (
            ("dataset=teapot", "dataset.world.held_out={degrees:9,axis:[0,0,0]}"),
            r"axis=\[0.0, 0.0, 0.0\] has no direction",
        ),
        (("dataset=teapot", "dataset.num_twins=null"), r"give dataset.num_twins=N"),
        (("dataset=teapot", "source.root=x.obj"), "source.root has no effect"),
        (("dataset=teapot", "source=meshes"), "unknown source=meshes; known: mesh, none"),
        (("dataset=teapot", "source.name=table"), "source=table has no effect: teapot turns one"),
        (SOURCE, "give source.root=FILE.obj"),
        ((*SOURCE, "source.root={folder}/none.obj"), "none.obj: there is no such file"),
        ((*SOURCE, "source.root={folder}/bad.obj"), "bad.obj, line 1: 'x' is not a number"),
        ((*SOURCE, "source.root={folder}/large.obj"), "large.obj: the mesh has 50,004 triangles"),
        (
            (*SOURCE, "source.root={folder}/point.obj"),
            "point.obj: all vertices are at the same point",
        ),
    ],
)
def test_impossible_settings_are_one_line(words, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "bad.obj").write_text("v x 0 0\n")
    (tmp_path / "large.obj").write_text(TETRAHEDRON + "f 1 2 3\n" * 50_000)
    (tmp_path / "point.obj").write_text("v 1 1 1\n" * 3 + "f 1 2 3\n")
    words = [word.replace("{folder}", str(tmp_path)) for word in words]
    with pytest.raises((ValueError, FileNotFoundError), match=complaint) as error:
        recipe_of("out=x", *words)
    assert "\n" not in str(error.value)


def test_states_and_actions_are_the_same_on_every_machine() -> None:
    states, actions = some_transitions(teapot())
    after = teapot().step(states, actions)
    assert zlib.crc32((after + np.float32(0)).tobytes()) == 478273916
    assert zlib.crc32((actions + np.float32(0)).tobytes()) == 3823830893
