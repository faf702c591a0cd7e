"""Protects what is said and shown of episodes, and that a fault of a record is found and named."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.episodes import WORLDS, in_order, sizes, store_maker
from helpers.preparing import column, prepare
from helpers.programs import call
from helpers.spoiling import edit, refit_manifest
from PIL import Image

from data_prep.settings.sources import NoSourceConfig
from data_prep.settings.worlds import Blocks3dWorldConfig
from data_prep.sheets import read_trajectories
from data_prep.worlds.make import make_world, world_of
from orbit.core.store.manifest import SPLITS, read_manifest
from orbit.core.store.reader import PairStore

SHARD = "test/shard_00001.h5"


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], PairStore]:
    return store_maker(tmp_path_factory.mktemp("worlds"))


@pytest.mark.parametrize("name", WORLDS)
def test_sound_episodes_are_verified(name: str, stores) -> None:
    store = stores(name)
    outcome = call("data_prep/verify.py", str(store.root))
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert len(lines) == 3
    for line, split in zip(lines, SPLITS, strict=True):
        num = store.manifest.splits[split].num_records
        assert line.startswith(f"{split:5} ok:")
        assert line.endswith(f"{num} simulated again")


def add(key: str, row: int, change: float) -> Callable[[h5py.File], None]:
    def apply(file: h5py.File) -> None:
        place = (row, 0) if file[key].ndim > 1 else row
        file[key][place] = file[key][place] + change

    return apply


def spoil_pixel(file: h5py.File) -> None:
    file["frames"][7, 1, 25, 25] ^= 0x10


def another_futile_action(file: h5py.File) -> None:
    """Give a twin whose action changes nothing another action that changes nothing."""
    world = make_world(Blocks3dWorldConfig("blocks_3d"), None, NoSourceConfig())
    states, actions = file["columns/state"][:], file["action"][:]
    is_futile = (states == file["columns/next_state"][:]).all(1) & (file["columns/element"][:] > 0)
    row = np.flatnonzero(is_futile)[0]
    for action in itertools.product(range(5), range(4)):
        tried = np.array([action], np.float32)
        changes = (world.step(states[row : row + 1], tried) != states[row]).any()
        if not changes and (tried != actions[row]).any():
            file["action"][row] = tried
            return
    raise AssertionError("no other action is futile")


# Episodes of 4 steps and 4 elements: 16 records and 20 frames each. Row 21 is element 1, time 1.
FAULTS = {
    "next state": (add("columns/next_state", 3, 1), "columns/next_state, row 3 is not the state"),
    "state": (add("columns/state", 0, 7), "columns/next_state, row 0 is not the state"),
    "action of a twin": (another_futile_action, "action, row "),
    "original": (add("columns/original", 21, 1), "columns/time, row 21 differs"),
    "original beyond": (add("columns/original", 21, 999), "columns/original, row 21 points"),
    "original is a twin": (
        lambda file: file["columns/original"].__setitem__(21, 21),
        "columns/original, row 21 does not name the untransformed",
    ),
    "element": (
        add("columns/group_element", 21, 1),
        "columns/state, row 21 is not its group element applied",
    ),
    "identity": (
        add("columns/group_element", 17, 1),
        "columns/group_element, row 17 is not the identity",
    ),
    "frame": (spoil_pixel, "frames, row 7 does not show columns/"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_record_is_named_though_the_manifest_fits(fault, stores, tmp_path: Path) -> None:
    change, complaint = FAULTS[fault]
    root = Path(shutil.copytree(stores("blocks_3d").root, tmp_path / "copy"))
    edit(root / SHARD, change)
    refit_manifest(root)
    outcome = call("data_prep/verify.py", str(root))
    assert f"{SHARD}: dataset {complaint}" in outcome.error_line


def test_broken_trajectories_are_found(stores, tmp_path: Path) -> None:
    """Records that are right by themselves, but do not follow one upon the other."""
    root = Path(shutil.copytree(stores("shapes_2d").root, tmp_path / "copy"))

    def swap(file: h5py.File) -> None:
        for key in ("source", "target", "action", "columns/state", "columns/next_state"):
            rows = file[key][:]
            rows[[1, 2]] = rows[[2, 1]]
            file[key][:] = rows

    edit(root / "train/shard_00000.h5", swap)
    refit_manifest(root)
    line = call("data_prep/verify.py", str(root)).error_line
    assert "train/shard_00000.h5: dataset columns/state, row " in line
    assert line.endswith("does not follow from the row before it")


def test_description_speaks_of_a_world(stores) -> None:
    outcome = call("data_prep/show.py", str(stores("rush_hour").root))
    text = outcome.out
    assert "transitions (s, a, s') of the world rush_hour, on which c4 acts" in text
    assert "training limited to forward" in text
    assert "(x, g, g x)" not in text
    assert "63 records (7 episodes of 9 steps), 70 frames" in text
    assert "80 records (5 episodes of 4 steps, each with 3 transforms of it), 100 frames" in text


@pytest.mark.parametrize(("name", "split"), [("blocks_3d", "test"), ("shapes_2d", "train")])
def test_pictures_of_episodes(name: str, split: str, stores, tmp_path: Path) -> None:
    store = stores(name)
    sheet = tmp_path / "sheet.png"
    outcome = call("data_prep/show.py", str(store.root), f"out={sheet}", f"split={split}")
    assert outcome.code == 0, outcome.err
    assert str(tmp_path / "sheet.gif") in outcome.out
    with Image.open(sheet) as image:
        assert min(image.size) > 300
    _, elements, length = sizes(store.manifest, split)
    with Image.open(tmp_path / "sheet.gif") as player:
        assert player.n_frames == length + 1
        colours = set()
        for number in range(player.n_frames):
            player.seek(number)
            colours.add(player.convert("RGB").tobytes())
        assert len(colours) > 1
    shown = read_trajectories(store, split, 3, 2)
    assert shown.frames.shape == (3, elements, 3, 3, 50, 50)
    assert shown.numbers[0] == 0
    assert shown.elements[0] == ["0", "90", "180", "270"][:elements]
    state = in_order(store, split, column(store, split, "state"))
    last = world_of(store.manifest).render(state[shown.numbers[1], :, 2])
    assert np.array_equal(np.rint(shown.frames[1, :, 2] * 255), last)
    assert (
        "train, val, test"
        in call("data_prep/show.py", str(store.root), "split=x", f"out={sheet}").error_line
    )


def test_the_default_pictures_lie_in_the_dataset_and_leave_it_sound(stores, tmp_path: Path) -> None:
    root = Path(shutil.copytree(stores("shapes_2d").root, tmp_path / "copy"))
    assert call("data_prep/show.py", str(root)).code == 0
    assert (root / "contact_sheet.png").is_file()
    assert (root / "episodes.gif").is_file()
    assert call("data_prep/verify.py", str(root)).code == 0
    assert read_manifest(root) == stores("shapes_2d").manifest


def test_a_world_is_no_material_for_latent_actions(stores, tmp_path: Path) -> None:
    """Its actions are no elements of the group, though they could be read as such."""
    root = stores("shapes_2d").root
    line = call(
        "pipeline/train.py",
        "experiment=rotated_digits",
        "pairs=stored",
        "global_batch=4",
        f"data={root}",
        f"run_dir={tmp_path}/run",
        "task.model.depth=1",
    ).error_line
    assert "the actions of shapes_2d are those of a world" in line


def test_episodes_of_one_step_are_verified(tmp_path: Path) -> None:
    """None of their records follows upon another."""
    words = ("num_samples=20", "dataset.num_val_episodes=3", "dataset.num_test_episodes=2")
    store = prepare(tmp_path / "out", "dataset=shapes_2d_up", *words)
    outcome = call("data_prep/verify.py", str(store.root))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[0].endswith("20 simulated again")
