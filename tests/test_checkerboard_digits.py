"""Protects the checkerboard digits: the digit turns, the board stays, training sees five poses.

Also the choice of digits by their labels, in both sources of digits.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.idx import write_mnist
from helpers.preparing import all_records, column, prepare, recipe_of

from data_prep.scenes.kinds import is_blue
from data_prep.settings.sources import DigitsSourceConfig
from data_prep.sources.mnist import DigitsSource, MnistSource
from data_prep.verification.datasets import verify_dataset
from orbit.core.groups import make_group
from orbit.core.store.reader import PairStore
from orbit.testing import check_source
from pipeline.data.batches import check_pairs

SEEN = {0, 1, 2, 8, 9}
SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mnist")
    write_mnist(root)
    return root


@pytest.fixture(scope="module")
def store(mnist: Path, tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    out = tmp_path_factory.mktemp("board") / "data"
    return prepare(out, "dataset=checkerboard_digits", f"source.root={mnist}")


def test_the_digit_turns_and_the_board_stays(store: PairStore) -> None:
    group = make_group("turns:10")
    for split in SPLITS:
        records = all_records(store, split)
        before, after = is_blue(records.source), is_blue(records.target)
        g = group.decode(torch.from_numpy(records.action))
        turned = group.act_on_image(torch.from_numpy(before), g)
        assert np.array_equal(turned.numpy(), after)
        shown = np.broadcast_to(~before & ~after, records.source.shape)
        assert np.array_equal(records.source[shown], records.target[shown])
        board = records.source[np.broadcast_to(~before, records.source.shape)]
        assert set(np.unique(board)) == {0, 255}
        assert 0.4 < (board == 255).mean() < 0.6
        assert records.label.max() <= 8
    assert all("pairs recomputed" in line for line in verify_dataset(store.root))
    assert not store.manifest.target_is_action_on_source


def test_training_has_no_frame_in_another_pose(store: PairStore) -> None:
    group = make_group("turns:10")
    poses = {}
    for split in SPLITS:
        action = torch.from_numpy(column(store, split, "action"))
        poses[split] = set(group.element_index(group.decode(action)).tolist())
        reader = store.split(split)
        assert reader.records_per_source == len(poses[split])
        num_frames = store.manifest.split(split).num_frames
        assert num_frames == reader.num_records
    assert poses == {"train": SEEN, "val": set(range(10)), "test": set(range(10))}


def test_boards_are_drawn_for_each_image(store: PairStore, mnist: Path, tmp_path: Path) -> None:
    """By seed, part and position: not by the shard."""
    words = ("dataset=checkerboard_digits", f"source.root={mnist}")
    cut = prepare(tmp_path / "cut", *words, "dataset.shard_mib=0.05")
    assert len(cut.manifest.split("train").shards) > 1
    for split in SPLITS:
        for one, other in zip(all_records(store, split), all_records(cut, split), strict=True):
            assert np.array_equal(one, other)
    other = prepare(tmp_path / "seed", *words, "seed=1")
    assert not np.array_equal(all_records(other, "test").source, all_records(store, "test").source)
    sources = {split: all_records(store, split).source[::10, 0] for split in SPLITS}
    for frames in sources.values():
        assert len({frame.tobytes() for frame in frames}) == len(frames)


@pytest.mark.parametrize("channel", [0, 2])
def test_a_changed_pixel_is_found(channel: int, mnist: Path, tmp_path: Path) -> None:
    store = prepare(tmp_path / "out", "dataset=checkerboard_digits", f"source.root={mnist}")
    import h5py

    with h5py.File(tmp_path / "out" / "train" / "shard_00000.h5", "r+") as file:
        frame = file["frames"][file["target"][3]]
        frame[channel, 14, 14] ^= 255
        file["frames"][file["target"][3]] = frame
    with pytest.raises(ValueError, match=r"is not the action applied to its source"):
        list(verify_dataset(store.root))


def test_what_does_not_fit_is_refused(store: PairStore, mnist: Path) -> None:
    words = ("dataset=checkerboard_digits", f"source.root={mnist}")
    with pytest.raises(ValueError, match=r"train_pairs=all_pairs needs .* exact, not turns:10"):
        recipe_of(*words, "dataset.train_pairs=all_pairs", "out=o")
    with pytest.raises(ValueError, match=r"paints digits of grey images \(1, H, W\), not of"):
        recipe_of("dataset=brain_mri", "dataset.scene.name=checkerboard", "out=o")
    with pytest.raises(ValueError, match=r"the background does not .*name=checkerboard"):
        check_pairs(store.manifest, "fresh")


def test_interpolated_digits_are_drawn_and_verified(mnist: Path, tmp_path: Path) -> None:
    words = [f"dataset.{split}_pairs=drawn" for split in SPLITS]
    words += ["dataset.group=so2", "dataset.train_bins=null", "num_samples=20"]
    root = f"source.root={mnist}"
    store = prepare(tmp_path / "out", "dataset=checkerboard_digits", root, *words)
    assert all("pairs recomputed" in line for line in verify_dataset(store.root))


def test_digits_are_chosen_by_their_labels(mnist: Path) -> None:
    whole, some = MnistSource(mnist), MnistSource(mnist, (3, 1))
    check_source(some)
    for part, num in whole.num_images.items():
        images, labels = whole.read(part, np.arange(num))
        kept = np.isin(labels, (1, 3))
        found = some.read(part, np.arange(some.num_images[part]))
        assert np.array_equal(found[0], images[kept])
        assert np.array_equal(found[1], labels[kept])
    assert some.label_meaning == "digit: 1, 3"
    small = DigitsSource((0,))
    check_source(small)
    assert small.num_images == {"all": 178}
    assert not small.read("all", np.arange(178))[1].any()
    for labels in ((), (1, 1), (10,)):
        with pytest.raises(ValueError, match=r"labels=\[.*\] must be different digits from 0 to 9"):
            DigitsSourceConfig("sklearn", labels)


def test_only_a_choice_of_labels_is_recorded(mnist: Path) -> None:
    """Manifests of all digits stay as they were."""
    root = f"source.root={mnist}"
    plain, board = (
        recipe_of(f"dataset={name}", root, "out=o")
        for name in ("rotated_mnist", "checkerboard_digits")
    )
    assert "labels" not in plain.origin().flat()
    assert list(board.origin().flat()["labels"]) == list(range(9))
