"""A dataset's copy on a node's disk: complete or not there, made once, mended, never wrong."""

import errno
import getpass
import hashlib
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.waiting import PATIENCE_S, wait_until

from launch import staging
from launch.staging import stage_dataset
from orbit.core.files.waiting import StoppedWaiting
from orbit.core.store.manifest import read_manifest
from orbit.core.store.reader import PairStore

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.mkdir()
    return path


def silent(line: str) -> None:
    pass


def contents(root: Path) -> dict[str, bytes]:
    """Every file below a folder but the lock."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def inodes(root: Path) -> dict[str, int]:
    return {name: (root / name).stat().st_ino for name in contents(root)}


def start(data: Path, disk: Path, say: Callable[[str], object] = silent) -> multiprocessing.Process:
    process = FORK.Process(target=stage_dataset, args=(data, disk, say))
    process.start()
    return process


def slow_checksum(pause: Callable[[int], object]) -> SimpleNamespace:
    """A stand-in for hashlib that calls `pause` with the number of each chunk, across shards."""
    numbers = iter(range(10**9))

    class Checksum:
        def __init__(self) -> None:
            self._true = hashlib.sha256()

        def update(self, chunk: bytes) -> None:
            pause(next(numbers))
            self._true.update(chunk)

        def hexdigest(self) -> str:
            return self._true.hexdigest()

    return SimpleNamespace(sha256=Checksum)


def test_the_copy_is_the_dataset(episode_dir: Path, disk: Path) -> None:
    said: list[str] = []
    copy = stage_dataset(episode_dir, disk, said.append)
    fingerprint = read_manifest(episode_dir).fingerprint
    assert copy == disk / f"orbit-{getpass.getuser()}" / fingerprint[:16]
    shards = {name for name in contents(episode_dir) if name.endswith((".h5", ".json"))}
    assert contents(copy) == {name: contents(episode_dir)[name] for name in shards}
    assert len(said) == 2
    assert str(episode_dir) in said[0]
    for split in ("train", "val", "test"):
        one, two = PairStore(episode_dir).split(split), PairStore(copy).split(split)
        records = np.arange(one.num_records)
        for left, right in zip(one.read(records), two.read(records), strict=True):
            np.testing.assert_array_equal(left, right)


def test_a_second_call_copies_nothing(digits_dir: Path, disk: Path) -> None:
    copy = stage_dataset(digits_dir, disk, silent)
    before, said = inodes(copy), []
    assert stage_dataset(digits_dir, disk, said.append) == copy
    assert stage_dataset(copy, disk, said.append) == copy
    assert (inodes(copy), said) == (before, [])


def test_datasets_lie_side_by_side(digits_dir: Path, volume_dir: Path, disk: Path) -> None:
    assert stage_dataset(digits_dir, disk, silent) != stage_dataset(volume_dir, disk, silent)
    assert len(list((disk / f"orbit-{getpass.getuser()}").iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "longer", "missing", "manifest", "other manifest"])
def test_a_damaged_copy_is_mended(damage: str, digits_dir: Path, disk: Path) -> None:
    copy = stage_dataset(digits_dir, disk, silent)
    before, whole = inodes(copy), contents(copy)
    name = "manifest.json" if "manifest" in damage else "train/shard_00001.h5"
    changed = {"cut": whole[name][:-1], "longer": whole[name] + b"x", "other manifest": b"{}"}
    (copy / name).unlink()
    if damage in changed:
        (copy / name).write_bytes(changed[damage])
    assert stage_dataset(digits_dir, disk, silent) == copy
    assert contents(copy) == whole
    kept = {key for key, inode in inodes(copy).items() if inode == before[key]}
    assert kept >= set(whole) - {name, "manifest.json"}


def test_processes_of_a_node_copy_once(
    digits_dir: Path, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "hashlib", slow_checksum(lambda _: time.sleep(0.2)))

    def say(line: str) -> None:
        (tmp_path / f"{line.split()[0]}-{os.getpid()}").touch()

    processes = [start(digits_dir, disk, say) for _ in range(3)]
    for process in processes:
        process.join(PATIENCE_S)
        assert process.exitcode == 0
    assert len(list(tmp_path.glob("copying-*"))) == 1
    copy = stage_dataset(digits_dir, disk, pytest.fail)
    assert not list(copy.rglob(".*"))


@pytest.mark.parametrize("chunk", [0, 1, 9])
def test_a_killed_copy_is_taken_up_again(
    chunk: int, digits_dir: Path, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = tmp_path / "reached"

    def pause(number: int) -> None:
        if number == chunk:
            reached.touch()
            time.sleep(3000)

    with monkeypatch.context() as patched:
        patched.setattr(staging, "hashlib", slow_checksum(pause))
        patched.setattr(staging, "CHUNK_BYTES", 20_000)
        patched.setattr(staging, "NUM_COPIERS", 1)
        process = start(digits_dir, disk)
        wait_until(lambda: reached.exists() or not process.is_alive())
        assert process.is_alive()
        process.kill()
        process.join(PATIENCE_S)
    (copy,) = (disk / f"orbit-{getpass.getuser()}").iterdir()
    assert list(copy.rglob(".shard*.tmp"))
    assert not (copy / "manifest.json").exists()
    finished = {path: path.stat().st_ino for path in copy.rglob("shard_*.h5")}
    assert bool(finished) == (chunk == 9)
    stray = copy / ".manifest.json.0123.tmp"
    stray.touch()
    assert stage_dataset(digits_dir, disk, silent) == copy
    assert not list(copy.rglob(".*"))
    assert {path: path.stat().st_ino for path in finished} == finished
    assert contents(copy)["manifest.json"] == (digits_dir / "manifest.json").read_bytes()
    for split in read_manifest(copy).splits.values():
        for shard in split.shards:
            found = hashlib.sha256((copy / shard.file).read_bytes()).hexdigest()
            assert found == shard.sha256


def test_a_damaged_dataset_is_not_copied(digits_dir: Path, disk: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(digits_dir, data)
    shard = data / "val" / "shard_00000.h5"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=r"val/shard_00000\.h5 differs from its checksum") as error:
        stage_dataset(data, disk, silent)
    assert "\n" not in str(error.value)
    (copy,) = (disk / f"orbit-{getpass.getuser()}").iterdir()
    assert not (copy / "manifest.json").exists()
    assert not list(copy.rglob(".*"))
    shard.unlink()
    with pytest.raises(FileNotFoundError):
        stage_dataset(data, disk, silent)


def test_too_little_space_is_one_line(
    digits_dir: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = r"needs 1 MiB on the disk of .*, which has 0 MiB free$"
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2000))
        with pytest.raises(ValueError, match=line):
            stage_dataset(digits_dir, disk, silent)

        def fill_up(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        sizes = iter([10**9, 2000])
        patched.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=next(sizes)))
        patched.setattr(staging, "_copy_shard", fill_up)
        with pytest.raises(ValueError, match=line):
            stage_dataset(digits_dir, disk, silent)
    stage_dataset(digits_dir, disk, silent)


def test_unusable_places_are_one_line(
    digits_dir: Path, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match="no such directory"):
        stage_dataset(digits_dir, tmp_path / "nowhere", silent)
    with pytest.raises(FileNotFoundError, match="no complete dataset"):
        stage_dataset(disk, disk, silent)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(ValueError, match="belongs to another user"):
        stage_dataset(digits_dir, disk, silent)


def test_a_request_to_stop_ends_the_copying(
    digits_dir: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards that are whole stay, and the next start copies the rest."""
    num_asked = iter(range(10**9))
    monkeypatch.setattr(staging, "NUM_COPIERS", 1)
    with pytest.raises(StoppedWaiting, match="asked to stop while copying"):
        stage_dataset(digits_dir, disk, silent, should_stop=lambda: next(num_asked) > 0)
    folder = disk / f"orbit-{getpass.getuser()}" / read_manifest(digits_dir).fingerprint[:16]
    before = inodes(folder)
    assert len(before) == 1
    assert not (folder / ".lock").exists()
    copy = stage_dataset(digits_dir, disk, silent)
    assert before.items() <= inodes(copy).items()
    assert (copy / "manifest.json").exists()
