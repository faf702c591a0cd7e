"""Protects what is known before the work from being found after it, and causes from being lost.

A name that no manifest can hold, a place that cannot be written, worker processes that
cannot be started or are killed: each is one line that names it, before or without any trace.
"""

import errno
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers.recipes import VolumeRecipe, made_here
from helpers.workers import end_by

from data_prep.building import workers
from data_prep.building.builder import build_dataset, start_build
from data_prep.building.recipe import ShardPlan
from data_prep.building.workers import announced
from orbit.core.files.lock import DirectoryLock
from orbit.core.store.origin import Origin

NOT_UTF8 = os.fsdecode(b"caf\xe9")


@dataclass(frozen=True)
class Described(VolumeRecipe):
    """Says other things about itself."""

    extra: Any = None
    checksum_of: str = "a.png"

    def origin(self) -> Origin:
        return made_here(extra=self.extra)

    def source_checksums(self) -> dict[str, str]:
        return {self.checksum_of: "0" * 64}

    def blocks(self, plan: ShardPlan):
        raise AssertionError("no shard may be made")


@pytest.mark.parametrize(
    ("recipe", "complaint"),
    [
        (
            Described(label_meaning=f"class {NOT_UTF8}"),
            r"label_meaning, 'class caf\\udce9', is not",
        ),
        (Described(checksum_of=NOT_UTF8), r"a name in source_checksums, 'caf\\udce9', is not UTF"),
        (
            Described(extra={"classes": ["a", NOT_UTF8]}),
            r"settings.extra.classes, 'caf\\udce9'",
        ),
        (
            Described(extra=[1.0, float("nan")]),
            r"settings.extra=nan is not a finite number",
        ),
        (
            Described(extra={"limit": float("inf")}),
            r"settings.extra.limit=inf is not a finite",
        ),
    ],
)
def test_what_no_manifest_can_hold_is_refused_before_the_work(
    recipe: Described, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=complaint):
        build_dataset(recipe, tmp_path / "x" / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "complaint"), [(NOT_UTF8, "is not UTF-8"), ("n" * 256, "a name of 256 bytes")]
)
def test_a_name_that_nothing_could_repeat_is_refused(
    name: str, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"out=.*{complaint}"):
        build_dataset(VolumeRecipe(), tmp_path / "x" / name)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match=r"out=.*file/out cannot be made: Not a directory"):
        build_dataset(VolumeRecipe(), tmp_path / "file" / "out")
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match=r"out=.*out cannot be written"):
        build_dataset(VolumeRecipe(), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "out"]


def modified(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (root, *root.rglob("*"))}


@pytest.mark.parametrize("leftover", [None, ".building", ".replaced"])
def test_a_complete_dataset_needs_no_writing(
    leftover: str | None, volume_dir: Path, tmp_path: Path, monkeypatch
) -> None:
    """Where nothing may be written, it still says that it is complete."""
    out = Path(shutil.copytree(volume_dir, tmp_path / "out"))
    if leftover is not None:
        (out / leftover).mkdir()
    before = modified(out)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    manifest = build_dataset(VolumeRecipe(), out)
    assert manifest.fingerprint == json.loads((out / "manifest.json").read_text())["fingerprint"]
    assert modified(out) == before
    monkeypatch.undo()
    build_dataset(VolumeRecipe(), out)
    assert not (out / ".building").exists()
    assert not (out / ".replaced").exists()


def test_a_complete_dataset_in_use_is_complete(volume_dir: Path, tmp_path: Path) -> None:
    """Whoever holds its directory: that it is complete needs no lock."""
    out = Path(shutil.copytree(volume_dir, tmp_path / "out"))
    with DirectoryLock(out, "preparations"):
        assert build_dataset(VolumeRecipe(), out).name == "noise_volumes"


def test_files_of_living_writers_are_left_alone(tmp_path: Path, volume_dir: Path) -> None:
    """A job that shares the directory is at a shard: nothing of it is removed."""
    out = tmp_path / "out"
    start_build(VolumeRecipe(), out, overwrite=False)
    draft = out / "train/.shard_00001.h5.1.tmp"
    draft.write_text("a job writes this")
    with announced(out):
        for overwrite in (False, True):
            with pytest.raises(ValueError, match=r"in use by process .* job of launch/prepare"):
                build_dataset(VolumeRecipe(), out, overwrite=overwrite)
        assert draft.exists()
    build_dataset(VolumeRecipe(), out)
    assert not draft.exists()
    assert not list(out.glob(".writer*"))


def test_notes_of_dead_writers_are_removed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    start_build(VolumeRecipe(), out, overwrite=False)
    with announced(out):
        (note,) = out.glob(".writer-*")
        owner = json.loads(note.read_text())
    note.write_text(json.dumps({**owner, "pid": 2**22 + 1, "process_start": "1"}))
    build_dataset(VolumeRecipe(), out)
    assert not note.exists()


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ("SIGKILL", r"killed by SIGKILL \(out of memory\?"),
        ("SIGBUS", "killed by SIGBUS: run again"),
        ("3", "ended with exit code 3: run again"),
    ],
)
def test_how_a_worker_ended_is_said(how: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"a worker process .*{complaint}"):
        workers.make_all(end_by, ["wait", how, "wait"], 2, lambda item: None)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES])
def test_workers_that_cannot_be_started_say_why(error: int, tmp_path: Path, monkeypatch) -> None:
    """What a small or closed /dev/shm gives."""

    def refuse(*arguments: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(workers, "ProcessPoolExecutor", refuse)
    with pytest.raises(ValueError, match=r"num_workers=2: .*/dev/shm .*set num_workers=1"):
        build_dataset(VolumeRecipe(), tmp_path / "x" / "out", num_workers=2)
    assert not list(tmp_path.iterdir())


def test_too_little_memory_is_one_line_and_finished_shards_stay(
    tmp_path: Path, volume_dir: Path
) -> None:
    class Large(VolumeRecipe):
        def blocks(self, plan: ShardPlan):
            if plan.split == "val":
                raise MemoryError
            return super().blocks(plan)

    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"val/shard_00000.h5: not enough memory .*shard_mib"):
        build_dataset(Large(), out)
    assert len(list(out.glob("train/*.h5"))) == 3
    build_dataset(VolumeRecipe(), out)
    assert (out / "manifest.json").read_bytes() == (volume_dir / "manifest.json").read_bytes()


def test_an_owner_that_lost_the_directory_stops(tmp_path: Path) -> None:
    """It neither completes nor clears what is another's by now."""
    out = tmp_path / "out"

    def taken_over(plan: ShardPlan) -> None:
        (out / ".lock").write_text('{"pid": 1, "host": "elsewhere"}')

    with pytest.raises(ValueError, match="was taken over by process 1 on elsewhere"):
        build_dataset(VolumeRecipe(), out, on_shard=taken_over)
    assert not (out / "manifest.json").exists()
    assert len(list(out.rglob("*.h5"))) == len(VolumeRecipe().plans())


@pytest.mark.parametrize("answer", ["nothing", "not supported"])
def test_a_disk_that_does_not_tell_its_size_is_no_full_disk(
    answer: str, tmp_path: Path, monkeypatch
) -> None:
    def usage(path: Path) -> Any:
        if answer == "nothing":
            return type(plain)(0, 0, 0)
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    plain = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert build_dataset(VolumeRecipe(), tmp_path / "out").splits
