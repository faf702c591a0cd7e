"""Protects the coloured digits: their pace, their pictures, who shares velocities, whose images.

Pictures must be those of the digit turned, shifted and coloured; a record must hold three in a row;
test images must be new.
"""

import colorsys
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.idx import write_mnist
from helpers.preparing import all_records, column, prepare, recipe_of
from helpers.programs import call
from torch.nn.functional import interpolate

from data_prep.settings.sources import DigitsSourceConfig, NoSourceConfig
from data_prep.settings.worlds import ColouredDigitsWorldConfig
from data_prep.sources.mnist import DigitsSource
from data_prep.worlds.coloured_digits import (
    DIRECTION,
    HUE,
    IMAGE,
    MAX_PLACE,
    PLACE,
    VELOCITIES,
    ColouredDigits,
    read_digits,
    resized,
)
from data_prep.worlds.make import make_world, world_of
from orbit.core.store.manifest import SPLITS
from orbit.core.store.reader import PairStore
from orbit.testing import check_world

CONFIG = ColouredDigitsWorldConfig("coloured_digits")
SMALL = (
    "dataset=coloured_digits",
    "source=sklearn",
    "num_episodes=6",
    "dataset.num_val_episodes=3",
)
TEST = ("dataset.num_test_episodes=5", "dataset.world.num_sharing=2", "seed=3")
TRAIN, VAL, TEST_SPLIT = range(3)


@pytest.fixture(scope="module")
def world() -> ColouredDigits:
    return ColouredDigits(CONFIG, None, read_digits(DigitsSourceConfig("sklearn"), CONFIG))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    out = tmp_path_factory.mktemp("digits") / "out"
    return prepare(out, *SMALL, *TEST, "dataset.num_twins=1")


def first(world: ColouredDigits, num: int, split: int = TRAIN, seed: int = 0) -> np.ndarray:
    return world.reset(seed, split, np.arange(num), limited=False)


def test_the_world_keeps_the_laws(world: ColouredDigits) -> None:
    check_world(world)
    made = make_world(CONFIG, None, DigitsSourceConfig("sklearn"), must_render=True)
    assert isinstance(made, ColouredDigits)
    assert np.array_equal(made.render(first(world, 3)), world.render(first(world, 3)))


def test_everything_goes_on_at_a_constant_pace(world: ColouredDigits) -> None:
    start = first(world, 50)
    states, actions = start, world.draw_actions(0, TRAIN, np.arange(50), 0, start, False)
    assert np.array_equal(actions, start[:, VELOCITIES])
    for time in range(1, 9):
        states = world.step(states, actions)
        again = world.draw_actions(0, TRAIN, np.arange(50), time, states, False)
        assert np.array_equal(again, actions)
    angle = [np.arctan2(of[:, 2], of[:, 1]).astype(float) for of in (start, states)]
    turn, hue = (8 * actions[:, place].astype(float) for place in (0, 1))
    off = (angle[1] - angle[0] - turn + math.pi) % (2 * math.pi) - math.pi
    assert np.abs(off).max() < 1e-5
    off = (states[:, HUE] - start[:, HUE] - hue + 0.5) % 1 - 0.5
    assert np.abs(off).max() < 1e-5
    assert np.abs(states[:, PLACE] - start[:, PLACE] - 8 * actions[:, 2:]).max() < 1e-4
    assert (states[:, HUE] >= 0).all()
    assert (states[:, HUE] <= 1).all()
    assert np.abs(np.linalg.norm(states[:, DIRECTION], axis=1) - 1).max() < 1e-6
    assert np.array_equal(states[:, IMAGE], start[:, IMAGE])


def test_starts_and_velocities_have_the_ranges_of_the_protocol(world: ColouredDigits) -> None:
    limits = [math.pi / 2, 0.25, 2.5, 2.5]
    for split in (TRAIN, VAL):
        states = first(world, 4000, split)
        spread = np.abs(states[:, VELOCITIES])
        assert (spread <= limits).all()
        assert (spread.max(0)[:2] > np.array(limits[:2]) * 0.99).all()
        # The first of nine pictures and the last are within the range, so all are.
        begin, end = (states[:, PLACE] + steps * states[:, 8:] for steps in (-1, 7))
        for places in (begin, end):
            assert np.abs(places).max() <= MAX_PLACE + 1e-5
            assert np.abs(places).max() > MAX_PLACE * 0.99
        assert np.abs((begin * end).mean(0)).max() < 3, "they are independent"
    test = first(world, 32 * 500, TEST_SPLIT)
    begin = test[:, PLACE] - test[:, 8:]
    assert np.abs(begin).max() <= MAX_PLACE + 1e-5
    assert np.abs(begin + 9 * test[:, 8:]).max() > MAX_PLACE * 1.5, "their end is another start's"
    assert np.abs(test[:, 8:]).max() <= 20 / 9
    angles = np.arctan2(test[:, 2], test[:, 1]) - test[:, 6]
    assert np.abs(np.exp(1j * angles).mean()) < 0.02
    assert abs(test[:, HUE].mean() - 0.5) < 0.02


def test_only_runs_of_test_episodes_share_velocities(world: ColouredDigits) -> None:
    of = first(world, 96, TEST_SPLIT)[:, VELOCITIES].reshape(3, 32, 4)
    assert (of == of[:, :1]).all()
    assert len(np.unique(of[:, 0], axis=0)) == 3
    for split in (TRAIN, VAL):
        assert len(np.unique(first(world, 96, split)[:, VELOCITIES], axis=0)) == 96
    alone = world.reset(0, TEST_SPLIT, np.array([40]), limited=False)
    assert np.array_equal(alone[0], first(world, 41, TEST_SPLIT)[40])


def still(world: ColouredDigits, num: int, hue: float = 0.0) -> np.ndarray:
    """States of digits that stand upright in the middle and never move."""
    states = np.zeros((num, world.state_size), np.float32)
    states[:, IMAGE], states[:, 1], states[:, HUE] = np.arange(num), 1, hue
    return states


def test_a_picture_is_the_digit_turned_shifted_and_coloured(world: ColouredDigits) -> None:
    digits = world._known.images[:4]
    middle = world.render(still(world, 4))
    assert np.array_equal(middle[:, :3], middle[:, 3:]), "it does not move"
    assert np.array_equal(middle[:, 3, 4:28, 4:28], np.rint(digits).astype(np.uint8))
    assert not middle[:, 3, :4].any(), "black around it"
    assert not middle[:, 4:].any(), "hue 0 is red"
    turned = still(world, 4)
    turned[:, DIRECTION] = (0, 1)
    assert np.array_equal(world.render(turned), np.rot90(middle, axes=(2, 3)))
    shifted = still(world, 4)
    shifted[:, PLACE] = (3, -5)
    expected = np.zeros_like(middle)
    expected[:, :, 5:, 3:] = middle[:, :, :-5, :-3]
    assert np.array_equal(world.render(shifted), expected)
    half = still(world, 4)
    half[:, PLACE] = (0.5, 0)
    between = (
        np.pad(middle, ((0, 0), (0, 0), (0, 0), (1, 0)))[..., :-1] + middle.astype(float)
    ) / 2
    assert np.abs(world.render(half) - between).max() <= 1
    brightest = digits[0].max()
    for hue in np.linspace(0, 1, 13):
        found = world.render(still(world, 1, hue))[0, 3:].reshape(3, -1).max(1)
        wanted = np.array(colorsys.hsv_to_rgb(hue, 1, 1)) * brightest
        assert np.abs(found - wanted).max() <= 1


def test_the_earlier_picture_is_where_the_velocities_come_from(world: ColouredDigits) -> None:
    states = first(world, 40)
    after = world.step(states, states[:, VELOCITIES])
    now, later = world.render(states), world.render(after)
    apart = np.abs(now[:, 3:].astype(int) - later[:, :3])
    assert apart.max() <= 1
    assert (now[:, :3] != now[:, 3:]).any((1, 2, 3)).all()


def test_digits_are_resized_between_pixel_centres() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)
    wanted = interpolate(torch.from_numpy(images)[:, None].double(), 24, mode="bilinear")
    assert np.abs(resized(images) - wanted[:, 0].numpy()).max() < 1e-3
    assert np.abs(resized(np.full((1, 16, 16), 77, np.uint8)) - 77).max() == 0
    assert resized(np.zeros((0, 28, 28), np.uint8)).shape == (0, 24, 24)


def test_no_image_is_in_two_splits(world: ColouredDigits, tmp_path: Path) -> None:
    fours = (DigitsSource().read("all", np.arange(1797))[1] == 4).sum()
    parts = world._known.of_split
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(fours))
    shown = [set(first(world, 400, split)[:, IMAGE].tolist()) for split in range(len(SPLITS))]
    assert [len(each) for each in shown] == [len(parts[split]) for split in SPLITS]
    # A source's own test images stay its own, and every tenth training image is for validation.
    write_mnist(tmp_path / "mnist", 50, 20)
    words = ("dataset=coloured_digits", f"source.root={tmp_path / 'mnist'}", "out=x")
    recipe = recipe_of(*words, "dataset.world.labels=null")
    of_split = recipe._world._known.of_split
    assert of_split["test"].tolist() == list(range(50, 70))
    assert of_split["val"].tolist() == [9, 19, 29, 39, 49]
    assert len(of_split["train"]) == 45
    assert len(recipe.source_checksums()) == 4


def test_a_dataset_is_verified_and_shown_without_its_images(store: PairStore) -> None:
    outcome = call("data_prep/verify.py", str(store.root))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[2].endswith("80 simulated again without pictures")
    sheet = store.root.parent / "sheet.png"
    shown = call("data_prep/show.py", str(store.root), f"out={sheet}")
    assert "80 records (5 episodes of 8 steps, each with 1 transforms of it)" in shown.out
    assert sheet.is_file()
    assert sheet.with_suffix(".gif").is_file()
    known = world_of(store.manifest)
    assert not known.can_render
    assert known.settings() == {"labels": [4], "num_sharing": 2}
    states = column(store, "train", "state")
    with pytest.raises(ValueError, match="only its source has them"):
        known.render(states)
    world = recipe_of(*SMALL, *TEST, "out=x")._world
    records = all_records(store, "train")
    assert np.array_equal(world.render(states), records.source)
    assert np.array_equal(world.render(column(store, "train", "next_state")), records.target)
    assert np.array_equal(records.action, states[:, VELOCITIES])


def test_the_group_turns_a_digit_about_itself(store: PairStore) -> None:
    states, element = (column(store, "test", name) for name in ("state", "element"))
    g = column(store, "test", "group_element")[element == 1].astype(float)
    own, copy = states[element == 0], states[element == 1]
    turn = (own[:, 1] + 1j * own[:, 2]) * (g[:, 0] + 1j * g[:, 1])
    assert np.abs(turn - (copy[:, 1] + 1j * copy[:, 2])).max() < 1e-6
    rest = [place for place in range(10) if place not in (1, 2)]
    assert np.array_equal(own[:, rest], copy[:, rest])
    action = all_records(store, "test").action
    assert np.array_equal(action[element == 0], action[element == 1])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), r"give source.root=DIR"),
        (("source=sklearn", "dataset.actions=up"), r"actions=\[up\] is not allowed; allowed: null"),
        (("source=sklearn", "dataset.num_twins=null"), r"give dataset.num_twins=N"),
        (
            ("source=sklearn", "source.labels=[1]"),
            r"source.labels=\[1\] has no effect: set dataset",
        ),
        (("source=sklearn", "dataset.world.num_sharing=0"), r"num_sharing=0 must be at least 1"),
        (("source=sklearn", "dataset.world.labels=[4,4]"), r"must be different digits"),
        (("source=mesh",), r"unknown source=mesh; known: sklearn, torchvision"),
        (("source=sklearn", "source.name=none"), r"coloured_digits needs images"),
        (("source=sklearn", "source.name=phantom"), r"source=phantom has no grey images"),
    ],
)
def test_impossible_settings_are_one_line(words: tuple[str, ...], complaint: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=complaint) as error:
        recipe_of("out=x", "dataset=coloured_digits", *words)
    assert "\n" not in str(error.value)


def test_a_split_without_an_image_is_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist", 9, 9)
    words = (f"source.root={tmp_path / 'mnist'}", "dataset.world.labels=null", "out=x")
    with pytest.raises(ValueError, match="the val split would have no image"):
        recipe_of("dataset=coloured_digits", *words)
    with pytest.raises(ValueError, match="needs images"):
        make_world(CONFIG, None, NoSourceConfig())


def test_pictures_are_the_same_on_every_machine(world: ColouredDigits) -> None:
    states = world.step(first(world, 30), first(world, 30)[:, VELOCITIES])
    assert zlib.crc32((states + np.float32(0)).tobytes()) == 1715784162
    assert zlib.crc32(world.render(states).tobytes()) == 2468570193
