"""Protects opening: what is read is what the manifest speaks of, whatever happens meanwhile.

A dataset that is replaced while it is in use is never read under its old fingerprint, and
a file system that lacks maps or does not answer is told apart from a damaged shard.
"""

import errno
import mmap
import os
import pickle
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.recipes import VolumeRecipe

from data_prep.building.builder import build_dataset
from orbit.core.store import shard as shards
from orbit.core.store.reader import PairStore


@pytest.fixture
def copy_dir(volume_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(volume_dir, tmp_path / "data"))


def test_a_dataset_replaced_after_opening_is_not_read(copy_dir: Path) -> None:
    """Also where a split was not read before, and in another process."""
    readers = PairStore(copy_dir).open_all(("train", "val"))
    numbers = np.arange(readers["val"].num_records)
    before = PairStore(copy_dir).split("val").read(numbers)
    sent = pickle.dumps(readers["val"])
    build_dataset(VolumeRecipe(seed=5), copy_dir, overwrite=True)
    after = readers["val"].read(numbers)
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    with pytest.raises(ValueError, match=r"val/shard_00000.h5 was replaced while it was in use"):
        pickle.loads(sent).read(numbers)
    assert not np.array_equal(PairStore(copy_dir).split("val").read(numbers).source, after.source)


def test_a_dataset_replaced_while_it_is_opened_is_refused(copy_dir: Path) -> None:
    store = PairStore(copy_dir)
    build_dataset(VolumeRecipe(seed=5), copy_dir, overwrite=True)
    with pytest.raises(ValueError, match="was replaced while it was opened"):
        store.open_all()


def test_a_dataset_that_is_away_for_a_moment_is_noticed(copy_dir: Path, monkeypatch) -> None:
    """The manifest is the same before and after; the shards mapped in between are another's."""
    store, away = PairStore(copy_dir), copy_dir.with_name("away")
    other = copy_dir.with_name("other")
    build_dataset(VolumeRecipe(seed=5), other)
    plain = shards.open_shard

    def swapped(path: Path):
        if path.parent.name != "val":
            return plain(path)
        os.rename(copy_dir / "val", away)
        os.rename(other / "val", copy_dir / "val")
        opened = plain(path)
        os.rename(copy_dir / "val", other / "val")
        os.rename(away, copy_dir / "val")
        return opened

    monkeypatch.setattr("orbit.core.store.reader.open_shard", swapped)
    with pytest.raises(ValueError, match=r"val/shard_00000.h5 was replaced while it was in use"):
        store.open_all(("train", "val"))


def test_a_shard_that_is_not_the_manifests_is_refused_at_opening(copy_dir: Path) -> None:
    os.truncate(copy_dir / "test/shard_00000.h5", 5000)
    store = PairStore(copy_dir)
    store.open_all(("train", "val"))
    with pytest.raises(ValueError, match=r"test/shard_00000.h5"):
        store.open_all()
    (copy_dir / "test/shard_00000.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"test/shard_00000.h5 is missing"):
        PairStore(copy_dir).open_all()


class Maps:
    """Stands in for mmap on a file system that has no maps of some kinds."""

    def __init__(self, lacks: tuple[int, ...], error: int) -> None:
        self.lacks, self.error, self.tried = lacks, error, list[int]()

    def __call__(self, descriptor: int, length: int, flags: int, prot: int) -> mmap.mmap:
        self.tried.append(flags)
        if flags in self.lacks:
            raise OSError(self.error, os.strerror(self.error))
        return plain_mmap(descriptor, length, flags, prot)


plain_mmap = mmap.mmap


def test_where_maps_cannot_be_shared_they_are_private(copy_dir: Path, monkeypatch) -> None:
    expected = PairStore(copy_dir).split("train").read(np.arange(9))
    maps = Maps((mmap.MAP_SHARED,), errno.ENODEV)
    monkeypatch.setattr(shards.mmap, "mmap", maps)
    found = PairStore(copy_dir).split("train").read(np.arange(9))
    assert mmap.MAP_PRIVATE in maps.tried
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))


def test_where_nothing_can_be_mapped_one_line_says_so(copy_dir: Path, monkeypatch) -> None:
    maps = Maps((mmap.MAP_SHARED, mmap.MAP_PRIVATE), errno.ENODEV)
    monkeypatch.setattr(shards.mmap, "mmap", maps)
    with pytest.raises(ValueError, match=r"shard_00000.h5: the file system there cannot map"):
        PairStore(copy_dir).open_all()


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENOMEM])
def test_other_errors_of_mapping_are_not_taken_for_damage(
    error: int, copy_dir: Path, monkeypatch
) -> None:
    maps = Maps((mmap.MAP_SHARED,), error)
    monkeypatch.setattr(shards.mmap, "mmap", maps)
    with pytest.raises(OSError, match=r"shard_00000.h5") as caught:
        PairStore(copy_dir).open_all()
    assert caught.value.errno == error


def test_a_read_error_is_not_taken_for_damage(copy_dir: Path, monkeypatch) -> None:
    """What a network file system says for a moment must not be called a broken shard."""

    def failing(*arguments, **named):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(shards.h5py, "File", failing)
    with pytest.raises(OSError, match=r"shard_00000.h5") as caught:
        PairStore(copy_dir).open_all()
    assert caught.value.errno == errno.EIO


def test_more_shards_than_files_that_may_be_open(copy_dir: Path) -> None:
    """Each map keeps its file open: the limit is raised as far as the system lets it be."""
    store = PairStore(copy_dir)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, limits[1]))
    try:
        readers = store.open_all()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > few
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert all(len(reader.read(np.arange(1)).label) == 1 for reader in readers.values())


def test_a_limit_of_open_files_that_cannot_be_raised_is_told(copy_dir: Path, monkeypatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (4, 4))
    with pytest.raises(ValueError, match=r"1 files to hold open, and a process here may hold 4 "):
        PairStore(copy_dir).split("val").open()
