"""Checkpoints survive what a file system does; nothing good is thrown away for a passing fault."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.faults import failing, tree

from pipeline.run_files import checkpoint as module
from pipeline.run_files.checkpoint import CheckpointStore, DamagedCheckpointError


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    """Checkpoints of steps 5, 10 and 15; the best is 10."""
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    for step in (5, 10, 15):
        save(store, step)
    store.point("best", 10)
    return store


def save(store: CheckpointStore, step: int) -> None:
    state = {"best_step": min(step, 10), "best_value": 0.5}
    store.save(step, {"w": torch.full((1,), float(step))}, state, {"attempt": 0})


FILES = ("meta.json", "model.safetensors", "state.pt")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
@pytest.mark.parametrize("file", FILES)
def test_a_checkpoint_that_cannot_be_read_just_now_is_left_alone(
    file: str, number: int, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(store.folder)
    with monkeypatch.context() as patch:
        failing(patch, lambda path: path.name == file, number)
        with pytest.raises(OSError, match=file) as raised:
            store.newest_valid()
    assert raised.value.errno == number
    assert tree(store.folder) == before
    newest, complaints = store.newest_valid()
    assert newest is not None
    assert (newest.step, complaints) == (15, [])


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_missing_or_altered_is_damage(file: str, store: CheckpointStore) -> None:
    (store.path(15) / file).unlink()
    content = (store.path(10) / file).read_bytes()
    (store.path(10) / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    newest, complaints = store.newest_valid()
    assert newest is not None
    assert newest.step == 5
    assert all(file in line and "is damaged" in line for line in complaints)
    assert len(complaints) == 2


def test_a_checkpoint_with_right_checksums_is_never_set_aside(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little memory, say, or a version that cannot read it: to go back is not the answer."""

    def no_memory(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("can't allocate memory")

    before = tree(store.folder)
    with monkeypatch.context() as patch:
        patch.setattr(module.torch, "load", no_memory)
        with pytest.raises(ValueError, match="checksums are right: can't allocate") as raised:
            store.newest_valid()
    assert not isinstance(raised.value, DamagedCheckpointError)
    assert tree(store.folder) == before


def test_a_checkpoint_that_is_pruned_while_it_is_read_is_gone_not_damaged(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def pruned_meanwhile(self: Path) -> bytes:
        if self.name == "state.pt":
            shutil.rmtree(self.parent, ignore_errors=True)
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", pruned_meanwhile)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of step 5 in .*there: 10, 15"):
        store.load(5)


# Pointers


@pytest.mark.parametrize("spoil", ["old", "missing", "cut off"])
@pytest.mark.parametrize("name", ["best", "last"])
def test_pointers_are_restored_with_the_checkpoint(
    name: str, spoil: str, store: CheckpointStore
) -> None:
    """A run can be killed between a checkpoint and what points at it."""
    pointer = store.folder / f"{name}.json"
    if spoil == "missing":
        pointer.unlink()
    else:
        pointer.write_text('{"step": 5}' if spoil == "old" else '{"st')
    newest, _ = store.newest_valid()
    assert newest is not None
    store.restore_pointers(newest)
    assert (store.resolve("best"), store.resolve("last")) == (10, 15)


def test_a_pointer_from_a_time_that_is_cut_off_goes(store: CheckpointStore) -> None:
    """The newest checkpoint that is left may be older than the first validation."""
    store.save(20, {"w": torch.zeros(1)}, {"best_step": None}, {})
    newest = store.load(20)
    store.restore_pointers(newest)
    with pytest.raises(FileNotFoundError, match="no best checkpoint"):
        store.resolve("best")


def test_pointers_that_are_right_are_not_written_again(store: CheckpointStore) -> None:
    before = [(store.folder / f"{name}.json").stat().st_mtime_ns for name in ("best", "last")]
    store.restore_pointers(store.load(15))
    after = [(store.folder / f"{name}.json").stat().st_mtime_ns for name in ("best", "last")]
    assert before == after


def test_a_pointer_to_nothing_is_said_by_name(store: CheckpointStore) -> None:
    shutil.rmtree(store.path(10))
    with pytest.raises(FileNotFoundError, match=r"best\.json names step 10.*there: 5, 15"):
        store.resolve("best")
    shutil.rmtree(store.path(15))
    assert store.resolve("last") == 5
    (store.folder / "best.json").write_text("[]")
    with pytest.raises(ValueError, match=r"best\.json cannot be read"):
        store.resolve("best")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_pointer_that_cannot_be_read_just_now_is_not_taken_for_none(
    number: int, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, lambda path: path.name == "best.json", number)
    with pytest.raises(OSError, match=r"best\.json") as raised:
        store.resolve("best")
    assert not isinstance(raised.value, FileNotFoundError)


# Writing and deleting


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_what_was_there(
    number: int, file: str, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(store.folder)
    real = os.fsync

    def full(descriptor: int) -> None:
        if file in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="it was not saved; earlier checkpoints are") as raised:
            save(store, 20)
    assert raised.value.errno == number
    assert "step_00000020" in str(raised.value.filename)
    assert tree(store.folder) == before
    assert not list(store.folder.glob(".*"))
    save(store, 20)
    assert store.resolve("last") == 20


@pytest.mark.parametrize("number", [errno.ENOTEMPTY, errno.EBUSY])
def test_pruning_what_somebody_reads_is_tried_again_later(
    number: int, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system keeps a deleted file, under another name, while it is read."""

    def busy(path: Path, *args: Any, **kwargs: Any) -> None:
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", busy)
        store.prune(1, None, best_step=None)
    assert store.steps() == [15]
    assert len(list(store.folder.glob(".step_*"))) == 2
    store.prune(1, None, best_step=None)
    assert not list(store.folder.glob(".step_*"))


def test_other_faults_of_pruning_are_not_passed_over(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path, *args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(shutil, "rmtree", broken)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        store.prune(1, None, best_step=None)


def test_a_start_over_clears_what_can_be_seen_even_while_it_is_read(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(path: Path, *args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(path))

    monkeypatch.setattr(shutil, "rmtree", busy)
    store.clear()
    assert store.steps() == []
    with pytest.raises(FileNotFoundError):
        store.resolve("last")


def test_what_is_made_is_on_disk_before_what_speaks_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost node leaves no pointer to a checkpoint that is not there, nor a checkpoint in part."""
    done: list[str] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def synced(descriptor: int) -> None:
        done.append("sync " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def moved(function: Any) -> Any:
        def move(source: Any, target: Any) -> None:
            done.append("name " + Path(target).name)
            function(source, target)

        return move

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", moved(rename))
    monkeypatch.setattr(os, "replace", moved(replace))
    (tmp_path / "run").mkdir()
    save(CheckpointStore(tmp_path / "run" / "checkpoints"), 7)
    short = [line.split(".tmp")[0].rpartition(".")[0] or line for line in done]
    # The folder's own entry; contents and entries of the draft; the checkpoint; its pointer.
    assert done[0] == "sync run"
    order = ["name step_00000007", "sync checkpoints", "name last.json"]
    places = [done.index(line) for line in order]
    assert places == sorted(places)
    for file in ("model.safetensors", "state.pt"):
        assert done.index(f"sync {file}") < places[0]
    draft = [place for place, line in enumerate(short) if line.startswith("sync .step_00000007")]
    assert draft
    assert done.index("name meta.json") < max(draft) < places[0]
    assert done[-1] == "sync checkpoints"
