"""Protects datasets of episodes: records in order, twins, sizes, limits, and the same bytes
however they are made."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.episodes import LENGTH, NUM_EPISODES, SMALL, WORLDS, in_order, sizes, store_maker
from helpers.preparing import all_records, column, prepare, prepare_config, recipe_of
from helpers.spinner import Spinner

import data_prep.recipes.episodes as episodes_recipe
from data_prep.building.builder import build_dataset
from data_prep.worlds.interface import World
from data_prep.worlds.make import world_of
from orbit.core.groups import make_group
from orbit.core.store.manifest import SPLITS
from orbit.core.store.reader import PairStore

pytestmark = pytest.mark.usefixtures("starts_are_warm")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], PairStore]:
    return store_maker(tmp_path_factory.mktemp("worlds"))


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("split", SPLITS)
def test_records_come_by_episode_element_and_time(name: str, split: str, stores) -> None:
    store = stores(name)
    num, elements, length = sizes(store.manifest, split)
    assert (num, elements, length) == {
        "train": (NUM_EPISODES, 1, LENGTH),
        "val": (2, 1, LENGTH),
        "test": (5, 4, 4),
    }[split]
    info = store.manifest.splits[split]
    assert info.num_records == num * elements * length
    assert info.num_frames == num * elements * (length + 1)
    assert len(info.shards) > 1 or split == "val"
    episode, element, time = (
        in_order(store, split, column(store, split, key)) for key in ("episode", "element", "time")
    )
    assert (episode == np.arange(num)[:, None, None]).all()
    assert (element == np.arange(elements)[:, None]).all()
    assert (time == np.arange(length)).all()
    assert np.array_equal(all_records(store, split).label, episode.reshape(-1))


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("split", SPLITS)
def test_a_record_is_a_step_of_the_world_and_shows_it(name: str, split: str, stores) -> None:
    store = stores(name)
    world, records = world_of(store.manifest), all_records(store, split)
    state, following = (column(store, split, key) for key in ("state", "next_state"))
    assert np.array_equal(world.step(state, records.action), following)
    assert np.array_equal(world.render(state), records.source)
    assert np.array_equal(world.render(following), records.target)
    by_time = in_order(store, split, state), in_order(store, split, following)
    assert np.array_equal(by_time[0][:, :, 1:], by_time[1][:, :, :-1])
    # Draws are those of the seed, the split and the episode.
    episodes = np.arange(len(by_time[0]))
    limited = split != "test"
    first = world.reset(5, SPLITS.index(split), episodes, limited)
    assert np.array_equal(by_time[0][:, 0, 0], first)
    action = in_order(store, split, records.action)
    for time in (0, 3):
        drawn = world.draw_actions(
            5, SPLITS.index(split), episodes, time, by_time[0][:, 0, time], limited
        )
        assert np.array_equal(action[:, 0, time], drawn)


@pytest.mark.parametrize("name", WORLDS)
def test_test_episodes_have_a_twin_for_every_element(name: str, stores) -> None:
    store = stores(name)
    world, group = world_of(store.manifest), make_group("c4")
    code = column(store, "test", "group_element")
    g = group.decode(torch.from_numpy(code))
    assert np.array_equal(in_order(store, "test", g.numpy())[3, :, 2], np.arange(4))
    element = in_order(store, "test", column(store, "test", "element"))
    assert np.array_equal(group.elements().numpy()[element].reshape(-1), g.numpy())
    for key in ("state", "next_state", "action"):
        values = in_order(store, "test", column(store, "test", key))
        originals = np.broadcast_to(values[:, :1], values.shape).reshape(len(g), -1)
        act = world.act_on_action if key == "action" else world.act_on_state
        assert np.array_equal(values.reshape(len(g), -1), act(originals, g))


@pytest.mark.parametrize("split", SPLITS)
def test_original_names_a_row_of_the_same_shard(split: str, stores) -> None:
    store = stores("shapes_2d")
    first = 0
    for shard in store.manifest.splits[split].shards:
        rows = np.arange(first, first + shard.num_records)
        reader = store.split(split)
        original = reader.read_column("original", rows) + first
        assert ((original >= first) & (original <= rows)).all()
        for key in ("episode", "time"):
            same = reader.read_column(key, original), reader.read_column(key, rows)
            assert np.array_equal(*same)
        assert not reader.read_column("element", original).any()
        first += shard.num_records


@pytest.mark.parametrize("name", WORLDS)
def test_training_and_validation_keep_to_the_limited_actions(name: str, stores) -> None:
    store = stores(name)
    names = {
        split: {
            text.split()[1]
            for text in world_of(store.manifest).action_names(all_records(store, split).action)
        }
        for split in SPLITS
    }
    assert names["train"] == set(WORLDS[name].split(","))
    assert names["val"] <= names["train"]
    assert len(names["test"]) == 4
    assert store.manifest.origin.flat()["actions"] == WORLDS[name].split(",")


def shards_of(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("shard_*.h5"))
    }


def test_the_bytes_do_not_depend_on_workers_blocks_or_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stores
) -> None:
    words = ("dataset=blocks_3d", "dataset.actions=[up,right,down]", *SMALL)
    expected = shards_of(stores("blocks_3d").root)
    prepare(tmp_path / "two", *words, num_workers=2)
    assert shards_of(tmp_path / "two") == expected
    # A block of a few frames, so that it ends in the middle of a trajectory.
    monkeypatch.setattr(episodes_recipe, "BLOCK_BYTES", 7 * 7500)
    prepare(tmp_path / "small", *words)
    assert shards_of(tmp_path / "small") == expected
    assert (tmp_path / "small/manifest.json").read_text() == (
        tmp_path / "two/manifest.json"
    ).read_text()


def test_an_episode_does_not_depend_on_how_many_there_are(tmp_path: Path, stores) -> None:
    words = ("dataset=rush_hour", "dataset.actions=[forward]", *SMALL)
    fewer = prepare(tmp_path / "fewer", *words, "num_episodes=3", "dataset.shard_mib=64")
    num = 3 * LENGTH
    for key in ("state", "action", "next_state"):
        few, many = column(fewer, "train", key), column(stores("rush_hour"), "train", key)
        assert np.array_equal(few, many[:num])
    other = prepare(tmp_path / "other", *words, "num_episodes=3", "seed=6")
    assert not np.array_equal(column(other, "train", "state"), column(fewer, "train", "state"))


def test_memory_is_bounded_by_blocks_however_long_an_episode_is() -> None:
    recipe = recipe_of(
        "dataset=shapes_2d", "num_episodes=1", "episode_length=1500", "out=x", "dataset.shard_mib=1"
    )
    (plan,) = (plan for plan in recipe.plans() if plan.split == "train")
    blocks = list(recipe.blocks(plan))
    assert max(block.frames.nbytes for block in blocks) <= episodes_recipe.BLOCK_BYTES
    assert sum(len(block.frames) for block in blocks) == 1501
    assert [len(block.label) for block in blocks] == [
        len(block.frames) for block in blocks[:-1]
    ] + [len(blocks[-1].frames) - 1]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), {"train": (1000, 100), "val": (50, 100), "test": (10_000, 10)}),
        (("num_episodes=20",), {"train": (20, 100), "val": (1, 100), "test": (200, 10)}),
        (("num_episodes=5000",), {"train": (5000, 100), "val": (250, 100), "test": (10_000, 10)}),
        (
            ("num_episodes=40", "episode_length=5", "dataset.num_test_episodes=7"),
            {"train": (40, 5), "val": (2, 5), "test": (7, 10)},
        ),
        (
            ("dataset=shapes_2d_up",),
            {"train": (100_000, 1), "val": (5000, 1), "test": (10_000, 10)},
        ),
        (
            ("dataset=blocks_3d_no_left", "num_samples=500"),
            {"train": (500, 1), "val": (25, 1), "test": (50, 10)},
        ),
        (("num_episodes=1", "episode_length=1"), {"train": (1, 1), "val": (1, 1), "test": (1, 10)}),
    ],
)
def test_sizes_follow_the_training_split_unless_they_are_given(words, expected) -> None:
    words = words if any(word.startswith("dataset=") for word in words) else (*words, WORLD)
    told = recipe_of("out=x", *words).origin().flat()
    for split, (num, length) in expected.items():
        assert told["num_episodes"][split] == num
        assert told["episode_length"][split] == length
    assert told["num_elements"] == {"train": 1, "val": 1, "test": 4}


WORLD = "dataset=shapes_2d"


@pytest.mark.parametrize(("num_twins", "num_elements"), [("0", 1), ("1", 2), ("3", 4), ("null", 4)])
def test_twins_can_be_fewer(num_twins: str, num_elements: int, tmp_path: Path) -> None:
    words = (WORLD, *SMALL, f"dataset.num_twins={num_twins}", "dataset.num_test_episodes=2")
    store = prepare(tmp_path / "out", *words)
    g = in_order(store, "test", column(store, "test", "group_element"))
    assert g[:, :, 0, 0].tolist() == [list(range(num_elements))] * 2


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((WORLD, "num_episodes=0"), "num_episodes=0 must be at least 1"),
        ((WORLD, "episode_length=-1"), "episode_length=-1 must be at least 1"),
        ((WORLD, "dataset.num_val_episodes=0"), "dataset.num_val_episodes=0 must be at least 1"),
        ((WORLD, "dataset.test_episode_length=0"), "dataset.test_episode_length=0"),
        ((WORLD, "dataset.num_twins=4"), "num_twins=4 is more than the 3 elements"),
        ((WORLD, "dataset.num_twins=-1"), "num_twins=-1 must not be negative"),
        ((WORLD, "dataset.actions=[forward]"), "allowed: some of up, right, down, left"),
        (("dataset=rush_hour", "dataset.actions=[up]"), "some of forward, right, back, left"),
        ((WORLD, "dataset.actions=[]"), r"dataset.actions=\[\] is not allowed"),
        ((WORLD, "dataset.world.shapes=[star]"), "allowed: circle, triangle, square, diamond"),
        ((WORLD, "dataset.world.shapes=[]"), "must be one to five shapes"),
        (("dataset=rush_hour", "dataset.world.shapes=[circle]"), "no effect with dataset.world"),
        ((WORLD, "dataset.world.name=chess"), "allowed: shapes_2d, blocks_3d, rush_hour"),
        ((WORLD, "num_samples=100"), "num_samples=100 has no effect .* 100 steps"),
        (("dataset=shapes_2d_up", "num_samples=9", "num_episodes=9"), "give only one of them"),
        (("dataset=rotated_digits", "num_episodes=9"), "which holds no episodes"),
        (("dataset=rotated_digits", "episode_length=9"), "which holds no episodes"),
        ((WORLD, "source=folders"), "source=folders has no effect with dataset=shapes_2d"),
        ((WORLD, "source.root=y"), "source.root has no effect"),
        ((WORLD, "source.name=sklearn"), "source=sklearn has no effect: shapes_2d is simulated"),
        ((WORLD, "dataset.shard_mib=0"), "shard_mib=0.0 must be positive"),
        ((WORLD, "dataset.group=c4"), "unknown key 'dataset.group'|dataset.group has no effect"),
    ],
)
def test_impossible_settings_are_one_line(words: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as error:
        recipe_of("out=x", *words)
    assert "\n" not in str(error.value)


def test_a_world_is_known_again_from_its_manifest(tmp_path: Path) -> None:
    words = (WORLD, *SMALL, "dataset.world.shapes=[diamond,circle]", "dataset.actions=[left,up]")
    store = prepare(tmp_path / "out", *words)
    world = world_of(store.manifest)
    assert world.settings() == {"shapes": ["diamond", "circle"]}
    assert np.array_equal(
        world.render(column(store, "val", "state")), all_records(store, "val").source
    )
    assert prepare_config("out=x", *words).dataset.actions == ("left", "up")


def test_twins_under_a_continuous_group_are_drawn(tmp_path: Path) -> None:
    from data_prep.recipes.episodes import EpisodeSizes, _num_elements

    so3 = make_group("so3")
    with pytest.raises(ValueError, match=r"give dataset\.num_twins=N"):
        _num_elements(None, so3)
    assert _num_elements(5, so3) == 6

    def build(out: Path, num_test: int) -> PairStore:
        counts = {"train": 2, "val": 1, "test": num_test}
        lengths, elements = dict.fromkeys(SPLITS, 3), {"train": 1, "val": 1, "test": 6}
        world: World = Spinner()  # type: ignore[assignment]
        recipe = episodes_recipe.Episodes(
            "spinner", world, EpisodeSizes(counts, lengths, elements), None, 64.0, 3
        )
        build_dataset(recipe, out)
        return PairStore(out)

    store = build(tmp_path / "a", 4)
    code = in_order(store, "test", column(store, "test", "group_element"))
    assert np.array_equal(code[:, 0, 0], so3.encode(so3.identity(4)).numpy())
    # Two episodes that follow one another are moved by the same elements, for distances.
    assert np.array_equal(code[0::2], code[1::2])
    assert len(np.unique(code[:, 1:, 0].reshape(-1, 4), axis=0)) == 2 * 5
    assert (code == code[:, :, :1]).all()
    g = so3.decode(torch.from_numpy(code.reshape(-1, 4)))
    state = in_order(store, "test", column(store, "test", "state"))
    originals = np.broadcast_to(state[:, :1], state.shape).reshape(-1, 4)
    assert np.allclose(Spinner().act_on_state(originals, g), state.reshape(-1, 4), atol=1e-5)
    # The same elements for an episode, however many others there are.
    fewer = build(tmp_path / "b", 2)
    few = in_order(fewer, "test", column(fewer, "test", "group_element"))
    assert np.array_equal(few, code[:2])
    assert store.manifest.source_checksums == {"a.obj": "00"}
