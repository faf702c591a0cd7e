"""Protects the reacher as a world: states, draws, twins, its two pictures, and its dataset."""

import itertools
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.episodes import in_order
from helpers.preparing import all_records, column, prepare, prepare_config, recipe_of
from helpers.programs import call

from data_prep.settings.sources import NoSourceConfig
from data_prep.settings.worlds import ReacherPlanarWorldConfig
from data_prep.worlds.interface import World
from data_prep.worlds.make import make_world, world_of
from orbit.core.groups import make_group
from orbit.core.store.manifest import SPLITS
from orbit.testing import check_world

pytestmark = pytest.mark.usefixtures("starts_are_warm")

POSITIVE = ("positive_second_torque",)
WORDS = (
    "dataset=reacher_planar",
    "dataset.world.size=33",
    "num_episodes=5",
    "dataset.num_test_episodes=2",
    "dataset.test_episode_length=4",
    "seed=3",
)


def planar(size: int = 33, actions: tuple[str, ...] | None = None) -> World:
    config = ReacherPlanarWorldConfig("reacher_planar", size)
    return make_world(config, actions, NoSourceConfig())


def some_transitions(world: World, num: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """States after the warm-up, and actions."""
    episodes = np.arange(num)
    states = world.reset(1, 0, episodes, limited=False)
    return states, world.draw_actions(1, 0, episodes, 0, states, limited=False)


def same(num: int, element: int) -> torch.Tensor:
    return torch.full((num,), element)


@pytest.mark.parametrize("element", range(8))
def test_the_group_commutes_with_every_step_bit_for_bit(element: int) -> None:
    world = planar()
    states, actions = some_transitions(world)
    g = same(len(states), element)
    for _ in range(5):
        turned_first = world.step(world.act_on_state(states, g), world.act_on_action(actions, g))
        states = world.step(states, actions)
        assert np.array_equal(turned_first, world.act_on_state(states, g))
        assert turned_first.dtype == np.float32
    assert world.tolerance == 0


def test_states_and_actions_carry_left_actions_of_the_group() -> None:
    world, group = planar(), make_group("d4")
    states, actions = some_transitions(world, 50)
    for act, rows in ((world.act_on_state, states), (world.act_on_action, actions)):
        assert np.array_equal(act(rows, group.identity(len(rows))), rows)
        for one, other in itertools.product(range(8), repeat=2):
            g, h = same(50, one), same(50, other)
            assert np.array_equal(act(act(rows, h), g), act(rows, group.compose(g, h)))
        mixed = torch.arange(50) % 8
        each = [act(rows[i : i + 1], mixed[i : i + 1])[0] for i in range(8)]
        assert np.array_equal(act(rows, mixed)[:8], np.stack(each))


def test_turns_leave_torques_alone_and_mirrors_reverse_them() -> None:
    world, group = planar(), make_group("d4")
    states, actions = some_transitions(world, 10)
    for element, code in enumerate(group.encode(group.elements()).tolist()):
        sign = -1 if code[1] else 1
        assert np.array_equal(world.act_on_action(actions, same(10, element)), sign * actions)
    turned = world.act_on_state(states, same(10, 1))
    assert np.array_equal(turned[:, 0], -states[:, 1])
    assert np.array_equal(turned[:, 2:5], states[:, 2:5])
    assert np.array_equal(turned[:, 5:7], np.tile(np.float32([-0.2, 0.2]), (10, 1)))
    mirrored = world.act_on_state(states, same(10, 4))
    assert np.array_equal(mirrored[:, :5], states[:, :5] * np.float32([-1, 1, -1, -1, -1]))


@pytest.mark.parametrize("limited", [False, True])
def test_episodes_begin_after_fifty_random_actions(limited: bool) -> None:
    world = planar(actions=POSITIVE)
    episodes = np.array([4, 90, 7])
    states = world.reset(1, 0, episodes, limited)
    alone = world.reset(1, 0, episodes[1:2], limited)
    assert np.array_equal(states[1:2], alone)
    wide = world.reset(1, 0, np.arange(300), limited)
    assert np.abs(wide[:, 3]).max() > 15
    assert np.abs(np.hypot(wide[:, 0], wide[:, 1]) - 1).max() < 1e-6
    # A second torque that never turns back drives the joint to its stop.
    share_bent = (wide[:, 2] > 2.5).mean()
    assert share_bent > 0.8 if limited else share_bent < 0.4
    # What came before the first state is a step that leads to it.
    assert np.abs(wide[:, :2] - wide[:, 7:9]).max() > 0.1
    assert not np.array_equal(world.reset(1, 1, episodes, limited), states)
    assert not np.array_equal(world.reset(2, 0, episodes, limited), states)


def test_torques_are_uniform_and_limited_ones_never_reverse_the_second() -> None:
    world = planar(actions=POSITIVE)
    episodes = np.arange(4000)
    states = np.zeros((4000, 10), np.float32)
    free, limited = (world.draw_actions(1, 0, episodes, 3, states, each) for each in (False, True))
    assert free.min() > -1.0001
    assert np.abs(free.mean(0)).max() < 0.04
    assert np.abs(free.std(0) - 1 / np.sqrt(3)).max() < 0.02
    assert np.array_equal(limited[:, 0], free[:, 0])
    assert np.array_equal(limited[:, 1], np.abs(free[:, 1]))
    seen = world.facts.seen_actions
    assert seen is not None
    assert seen.include(limited).all()
    assert np.array_equal(seen.include(free), free[:, 1] >= 0)
    assert planar().facts.seen_actions is None
    assert np.array_equal(world.draw_actions(1, 0, episodes[5:6], 3, states[:1], False), free[5:6])
    assert not np.array_equal(world.draw_actions(1, 0, episodes, 4, states, False), free)


def test_frames_show_the_pose_before_the_action_and_the_pose_after_it() -> None:
    world = planar()
    states, actions = some_transitions(world, 30)
    after = world.step(states, actions)
    now, then = world.render(states), world.render(after)
    assert now.shape == (30, 6, 33, 33)
    assert np.array_equal(now[:, 3:], then[:, :3])
    assert (then[:, :3] != then[:, 3:]).reshape(30, -1).any(1).all()
    assert np.array_equal(world.render(states[7:8])[0], now[7])


def test_frames_can_stack_more_pictures_further_apart() -> None:
    """Three pictures two actions apart are those that the arm gave four, two and no actions ago,
    and everything else is the usual world: its motion, its draws, its symmetry."""
    usual, config = planar(), ReacherPlanarWorldConfig("reacher_planar", 33, 3, 2)
    world = make_world(config, None, NoSourceConfig())
    assert world.settings() == {"size": 33, "num_frames": 3, "frame_gap": 2}
    states, _ = some_transitions(world, 20)
    plain, _ = some_transitions(usual, 20)
    pictures = [usual.render(plain)[:, 3:]]
    for time in range(4):
        actions = world.draw_actions(1, 0, np.arange(20), time, states, limited=False)
        states, plain = world.step(states, actions), usual.step(plain, actions)
        pictures.append(usual.render(plain)[:, 3:])
    assert states.shape == (20, 7 + 3 * 4)
    assert np.array_equal(states[:, :10], plain)
    wanted = np.concatenate(pictures[::2], 1)
    assert np.array_equal(world.render(states), wanted)
    g = torch.arange(20) % 8
    turned = make_group("d4").act_on_image(torch.from_numpy(wanted), g)
    assert np.array_equal(world.render(world.act_on_state(states, g)), turned.numpy())
    check_world(world, num=16)
    assert planar().settings() == {"size": 33}
    with pytest.raises(ValueError, match="look back further than the 50 actions before"):
        ReacherPlanarWorldConfig("reacher_planar", 33, 4, 17)
    with pytest.raises(ValueError, match="num_frames=1 must lie between 2 and 9"):
        ReacherPlanarWorldConfig("reacher_planar", 33, 1)


def next_pose_error(gap: int, noise: float) -> float:
    """How far a linear reader's next pose is from the truth, over how far the arm moves: it sees
    the action and how both joints turned in the last `gap` actions, where a picture of 65 pixels
    tells the arm's tip to `noise` pixels. Radians times the tip's distance from the joint."""
    config = ReacherPlanarWorldConfig("reacher_planar", 65, 2, gap)
    world = make_world(config, None, NoSourceConfig())
    before, actions = some_transitions(world, 1000)
    after = world.step(before, actions)
    past = before[:, 7 + 3 * (gap - 1) : 10 + 3 * (gap - 1)]

    def turns(now: np.ndarray, then: np.ndarray) -> np.ndarray:
        sine = then[:, 0] * now[:, 1] - then[:, 1] * now[:, 0]
        first = np.arctan2(sine, (now[:, :2] * then[:, :2]).sum(1))
        return np.stack([0.21 * first, 0.11 * (now[:, 2] - then[:, 2])], 1)

    drawn = np.random.default_rng(0).normal(size=(1000, 2))
    seen = turns(before, past) + np.sqrt(2) * noise * (0.68 / 65) * drawn
    told = np.concatenate([actions, seen, before[:, 2:3], np.ones((1000, 1))], 1)
    truth = turns(after, before)
    weights = np.linalg.lstsq(told[:500], truth[:500], rcond=None)[0]
    error = np.linalg.norm(told[500:] @ weights - truth[500:], axis=1).mean()
    return float(error / np.linalg.norm(truth[500:], axis=1).mean())


def test_pictures_two_actions_apart_tell_velocities_through_a_pixel_of_noise() -> None:
    """Why there is a gap: an action apart they tell them only to half a pixel."""
    assert next_pose_error(gap=1, noise=0.2) < 0.25
    assert next_pose_error(gap=2, noise=1.0) < 0.35 < next_pose_error(gap=1, noise=1.0)


@pytest.mark.parametrize("size", [33, 65, 128])
def test_the_picture_of_a_turned_state_is_the_turned_picture(size: int) -> None:
    world, group = planar(size), make_group("d4")
    states, _ = some_transitions(world, 6)
    frames = torch.from_numpy(world.render(states))
    for element in range(8):
        g = same(6, element)
        turned = world.render(world.act_on_state(states, g))
        assert np.array_equal(turned, group.act_on_image(frames, g).numpy())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reacher") / "out"
    prepare(out, *WORDS, "dataset.actions=positive_second_torque")
    return out


def test_a_dataset_of_reachers_is_verified_shown_and_known_again(root: Path) -> None:
    outcome = call("data_prep/verify.py", str(root))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[2].endswith("64 simulated again")
    shown = call("data_prep/show.py", str(root), f"out={root.parent}/sheet.png")
    assert "training limited to positive_second_torque" in shown.out
    assert (root.parent / "sheet.gif").is_file()


def test_twins_are_rollouts_of_their_own(root: Path) -> None:
    """Simulated from its first state under its own actions a twin goes where its record says."""
    from orbit.core.store.reader import PairStore

    store = PairStore(root)
    world = world_of(store.manifest)
    state, following = (
        in_order(store, "test", column(store, "test", name)) for name in ("state", "next_state")
    )
    action = in_order(store, "test", column(store, "test", "action"))
    at = state[:, :, 0].reshape(-1, 10)
    for time in range(4):
        at = world.step(at, action[:, :, time].reshape(-1, 2))
        assert np.array_equal(at, following[:, :, time].reshape(-1, 10))
    assert len(np.unique(action[0, :, 0], axis=0)) == 2
    assert (column(store, "train", "action")[:, 1] >= 0).all()
    assert (column(store, "test", "action")[:, 1] < 0).any()
    frames = all_records(store, "test").source
    assert np.array_equal(frames, world.render(column(store, "test", "state")))


def test_the_dataset_does_not_depend_on_workers(root: Path, tmp_path: Path) -> None:
    words = (*WORDS, "dataset.actions=[positive_second_torque]", "dataset.shard_mib=64")
    prepare(tmp_path / "two", *words, num_workers=2)
    for split in SPLITS:
        name = f"{split}/shard_00000.h5"
        assert (tmp_path / "two" / name).read_bytes() == (root / name).read_bytes()


def test_sizes_are_those_of_the_paper_and_small_where_training_is() -> None:
    told = recipe_of("out=x", "dataset=reacher_planar").origin().flat()
    assert told["num_episodes"] == {"train": 2000, "val": 100, "test": 1000}
    assert told["num_elements"] == {"train": 1, "val": 1, "test": 8}
    few = recipe_of("out=x", "dataset=reacher_planar", "num_episodes=20").origin().flat()
    assert few["num_episodes"] == {"train": 20, "val": 1, "test": 20}
    words = ("dataset=reacher_planar_positive", "out=x")
    assert prepare_config(*words).dataset.limited_actions == POSITIVE


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("dataset.actions=up",), r"actions=\[up\] is not allowed; allowed: positive_second"),
        (("dataset.actions=[]",), "is not allowed; allowed: positive_second_torque"),
        (("dataset.world.size=8",), "size=8 must lie between 16 and 400"),
        (("dataset.world.turns=small",), "no effect with dataset.world"),
        (("source.root=y",), "source.root has no effect"),
        (("source.name=mesh",), "source=mesh has no effect: reacher_planar is simulated"),
        (("dataset.max_test_episodes=0",), "max_test_episodes=0 must be at least 1"),
        (("num_samples=9",), "num_samples=9 has no effect"),
    ],
)
def test_impossible_settings_are_one_line(words: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as error:
        recipe_of("out=x", "dataset=reacher_planar", *words)
    assert "\n" not in str(error.value)


def test_states_and_pictures_are_the_same_on_every_machine() -> None:
    """All arithmetic is exact or rounded alike everywhere, so both can be pinned."""
    world = planar(40)
    states, actions = some_transitions(world, 64)
    after = world.step(states, actions)
    assert zlib.crc32((after + np.float32(0)).tobytes()) == 3082259365
    assert zlib.crc32(world.render(after).tobytes()) == 1589998147
