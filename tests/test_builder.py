"""Protects building: killed, damaged, full or contended, a dataset is complete or says it is not.

A killed preparation is continued by the next one, which keeps the finished shards and
clears the rest; nothing is overwritten without being told; a failed write leaves no file.
"""

import json
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from helpers.programs import start_python
from helpers.recipes import PausingRecipe, VolumeRecipe
from helpers.waiting import PATIENCE_S, wait_until

from data_prep.building.builder import build_dataset
from data_prep.building.recipe import ShardPlan
from data_prep.verification.datasets import verify_dataset
from orbit.core.files.atomic import sha256_of_file
from orbit.core.store.manifest import FrameSpec
from orbit.core.store.shard import Block

BUILD = """
import sys
from pathlib import Path
from helpers.recipes import PausingRecipe
from data_prep.building.builder import build_dataset

if __name__ == "__main__":
    build_dataset(PausingRecipe(pause_file=sys.argv[2]), Path(sys.argv[1]), 2)
"""


def contents(root: Path) -> dict[str, str]:
    """Relative path to checksum of every file."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): sha256_of_file(path) for path in files}


def child_processes(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in children.split()]


def finished_shards(out: Path) -> list[Path]:
    return [
        out / note.stem.replace("-", "/shard_") for note in (out / ".building").glob("*-*.json")
    ]


def test_killed_build_is_continued(tmp_path: Path, volume_dir: Path) -> None:
    """kill -9 while one worker is in the middle of a shard and all the others are finished."""
    out, pause_file = tmp_path / "out", tmp_path / "paused"
    process = start_python(BUILD, str(out), str(pause_file))
    try:
        others = len(PausingRecipe().plans()) - 1
        wait_until(
            lambda: (
                process.poll() is not None
                or (pause_file.exists() and len(finished_shards(out)) == others)
            ),
            "all shards but the paused one are finished",
        )
        assert process.poll() is None, process.communicate()
        with pytest.raises(ValueError, match=r"in use .* two preparations cannot share"):
            build_dataset(PausingRecipe(pause_file=str(pause_file)), out)
        workers = child_processes(process.pid)
        assert workers
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    wait_until(lambda: not any(Path(f"/proc/{w}").exists() for w in workers), "workers end")

    assert not (out / "manifest.json").exists()
    assert list(out.glob("train/.*.tmp")), "the paused shard was under a temporary name"
    assert not (out / "train/shard_00001.h5").exists()
    kept = [path.with_suffix(".h5") for path in finished_shards(out)]
    before = {path: path.stat().st_mtime_ns for path in kept}
    assert len(before) == others

    done: list[ShardPlan] = []
    build_dataset(PausingRecipe(pause_file=str(pause_file)), out, on_shard=done.append)
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert len(done) == others + 1  # progress counts kept shards too
    assert contents(out) == contents(volume_dir)


class FailingRecipe(VolumeRecipe):
    """Fails at one shard of the validation split."""

    def blocks(self, plan: ShardPlan):
        if plan.split == "val":
            raise OSError("no more images")
        return super().blocks(plan)


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """A build that stopped with its three training shards finished."""
    with pytest.raises(OSError, match="no more images"):
        build_dataset(FailingRecipe(), tmp_path / "out")
    return tmp_path / "out"


def test_temporary_files_are_cleared(unfinished: Path, volume_dir: Path) -> None:
    for name in ("train/.shard_00000.h5.1.tmp", ".manifest.json.77.tmp"):
        (unfinished / name).write_text("half")
    build_dataset(VolumeRecipe(), unfinished)
    assert contents(unfinished) == contents(volume_dir)


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "note"])
def test_damaged_finished_shards_are_made_again(
    damage: str, unfinished: Path, volume_dir: Path
) -> None:
    shard = unfinished / "train/shard_00001.h5"
    if damage == "flip":
        content = bytearray(shard.read_bytes())
        content[-1] ^= 1
        shard.write_bytes(content)
    elif damage == "truncate":
        os.truncate(shard, 1000)
    elif damage == "delete":
        shard.unlink()
    else:
        (unfinished / ".building/train-00001.json").unlink()
    intact = unfinished / "train/shard_00000.h5"
    before, before_damaged = intact.stat().st_mtime_ns, shard.exists() and shard.stat().st_mtime_ns
    build_dataset(VolumeRecipe(), unfinished)
    assert intact.stat().st_mtime_ns == before
    assert shard.stat().st_mtime_ns != before_damaged
    assert contents(unfinished) == contents(volume_dir)


def test_complete_dataset_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = build_dataset(VolumeRecipe(), out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert build_dataset(VolumeRecipe(), out) == first
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_complete_dataset_with_a_missing_shard_is_not_called_complete(tmp_path: Path) -> None:
    out = tmp_path / "out"
    build_dataset(VolumeRecipe(), out)
    (out / "val/shard_00000.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"val/shard_00000.h5 is missing"):
        build_dataset(VolumeRecipe(), out)


@pytest.mark.parametrize("state", ["complete", "unfinished"])
def test_another_configuration_is_refused_by_its_keys(state: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if state == "complete":
        build_dataset(VolumeRecipe(), out)
    else:
        with pytest.raises(OSError):
            build_dataset(FailingRecipe(), out)
    before = contents(out)
    with pytest.raises(ValueError, match=rf"{state} dataset .*overwrite=true") as error:
        build_dataset(VolumeRecipe(num_train=7, seed=4), out)
    assert "(differing: seed, origin.source.settings.num_train)" in str(error.value)
    assert contents(out) == before


@pytest.mark.parametrize("complete", [True, False])
def test_overwrite_replaces_all_shards(complete: bool, tmp_path: Path, volume_dir: Path) -> None:
    out = tmp_path / "out"
    recipe = (VolumeRecipe if complete else FailingRecipe)(num_train=20, seed=4)
    if complete:
        build_dataset(recipe, out)
    else:
        with pytest.raises(OSError):
            build_dataset(recipe, out)
    build_dataset(VolumeRecipe(), out, overwrite=True)
    assert contents(out) == contents(volume_dir)


def test_foreign_files_are_refused_and_kept(tmp_path: Path) -> None:
    precious = tmp_path / "train" / "photo.png"
    precious.parent.mkdir()
    precious.write_text("precious")
    with pytest.raises(ValueError, match=r"train exists but is not part of a dataset"):
        build_dataset(VolumeRecipe(), tmp_path)
    assert contents(tmp_path) == {"train/photo.png": sha256_of_file(precious)}


LIMITED_BUILD = """
import resource, signal, sys
from pathlib import Path
from helpers.recipes import VolumeRecipe
from data_prep.building.builder import build_dataset
from orbit.core.config.program import run_program


def main(words):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(words[1]), resource.RLIM_INFINITY))
    build_dataset(VolumeRecipe(num_train=12, items_per_shard=4), Path(words[0]))


run_program(main, "")
"""


def test_failed_write_leaves_no_half_file_and_says_one_line(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start_python(LIMITED_BUILD, str(out), "12000")
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1, errors
    (line,) = errors.splitlines()
    assert "shard_00000.h5" in line
    assert "File too large" in line
    assert len(line) < 300
    left = [path for path in out.rglob("*") if path.is_file()]
    assert left == []
    # With space again, the same command completes.
    recipe = VolumeRecipe(num_train=12, items_per_shard=4)
    build_dataset(recipe, out)
    assert len(list(verify_dataset(out))) == 3


def test_disk_that_fills_up_in_the_middle(tmp_path: Path, monkeypatch) -> None:
    """An error of a plain write, as a full disk gives it, names the shard and leaves none of it."""
    import builtins
    import errno
    import io

    class FullDisk(io.BufferedWriter):
        def write(self, data) -> int:
            if self.tell() > 5000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    def opened(file, mode="r", *others, **named):
        if mode == "wb" and ".h5" in str(file):
            return FullDisk(io.FileIO(file, "wb"))
        return plain_open(file, mode, *others, **named)

    plain_open = open
    out = tmp_path / "out"
    monkeypatch.setattr(builtins, "open", opened)
    with pytest.raises(OSError, match="No space left") as error:
        build_dataset(VolumeRecipe(), out)
    monkeypatch.undo()
    assert error.value.filename.endswith("train/shard_00000.h5")
    assert not (out / "manifest.json").exists()
    assert not out.exists()


def test_too_little_space_is_refused_before_writing(tmp_path: Path, monkeypatch) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match=r"not enough space at .* MiB needed"):
        build_dataset(VolumeRecipe(), tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.h5"))


def test_manifest_is_the_last_file_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    seen: list[bool] = []
    build_dataset(
        VolumeRecipe(), out, on_shard=lambda plan: seen.append((out / "manifest.json").exists())
    )
    assert seen == [False] * len(VolumeRecipe().plans())
    manifest = json.loads((out / "manifest.json").read_text())
    for split in manifest["splits"].values():
        for shard in split["shards"]:
            path = out / shard["file"]
            assert (path.stat().st_size, sha256_of_file(path)) == (shard["size"], shard["sha256"])


def test_overwriting_leaves_files_of_others_alone(volume_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "train").mkdir(parents=True)
    (out / "train" / "mine.png").write_text("picture")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="train exists but is not part of a dataset: choose"):
            build_dataset(VolumeRecipe(), out, overwrite=overwrite)
    assert [path.name for path in out.rglob("*") if path.is_file()] == ["mine.png"]

    shutil.rmtree(out)
    shutil.copytree(volume_dir, out)
    (out / "train" / "mine.png").write_text("picture")
    build_dataset(VolumeRecipe(seed=5), out, overwrite=True)
    assert [path.read_text() for path in out.rglob("mine.png")] == ["picture"]
    list(verify_dataset(out))


def test_a_dataset_comes_back_if_its_successor_fails(volume_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(volume_dir, out)
    before = contents(out)
    with pytest.raises(OSError, match="no more images"):
        build_dataset(FailingRecipe(seed=9), out, overwrite=True)
    assert contents(out) == before
    build_dataset(VolumeRecipe(seed=9), out, overwrite=True)
    assert contents(out) != before
    assert contents(out).keys() == before.keys()


@pytest.mark.parametrize("error", [TypeError("a bug"), OSError("disk"), ValueError("bad input")])
def test_a_build_that_never_began_leaves_no_folders(error: Exception, tmp_path: Path) -> None:
    class Broken(VolumeRecipe):
        def blocks(self, plan: ShardPlan):
            raise error

    with pytest.raises(type(error), match=str(error)):
        build_dataset(Broken(), tmp_path / "x" / "y" / "out")
    assert not (tmp_path / "x").exists()


@dataclass(frozen=True)
class LargeRecipe(VolumeRecipe):
    """Pictures of more values than the parts in which sums are taken."""

    num_train: int = 2
    num_held_out: int = 1
    items_per_shard: int = 1
    frames: FrameSpec = FrameSpec((3, 256, 256), "uint8", (0.0, 255.0), (-1.0, 1.0))

    def blocks(self, plan: ShardPlan):
        for item in range(plan.first, plan.last):
            frames = np.zeros((4, *self.frames.shape), np.uint8)
            frames[:, 0] = 255
            frames[:, 1, :128] = 255
            rows = np.arange(4)
            yield Block(
                frames, rows * 0, rows, rows[:, None].astype(np.float32), rows * 0 + item, {}
            )


def test_large_frames_are_prepared(tmp_path: Path) -> None:
    manifest = build_dataset(LargeRecipe(), tmp_path / "out")
    for split in manifest.splits.values():
        assert split.statistics.mean == pytest.approx((1.0, 0.0, -1.0))
        assert split.statistics.std == pytest.approx((0.0, 1.0, 0.0))


def test_shards_of_a_note_that_counts_no_values_are_made_again(
    unfinished: Path, volume_dir: Path
) -> None:
    """What an earlier version could not count does not spoil the manifest."""
    note = unfinished / ".building/train-00001.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "num_values": 0}))
    build_dataset(VolumeRecipe(), unfinished)
    assert contents(unfinished) == contents(volume_dir)


def test_values_that_no_shard_can_hold_leave_nothing(tmp_path: Path) -> None:
    """A fault that would come again at every attempt, found after other shards were finished."""

    class Faulty(VolumeRecipe):
        def blocks(self, plan: ShardPlan):
            for block in super().blocks(plan):
                if plan.split == "test":
                    block.action[0] = np.nan
                yield block

    with pytest.raises(ValueError, match=r"test/shard_00000.h5: an action is not finite"):
        build_dataset(Faulty(), tmp_path / "x" / "out")
    assert not (tmp_path / "x").exists()


def test_a_manifest_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    """Statistics that are not finite are found before anything is called complete."""
    notes = json.loads

    def spoilt(text, *others, **named):
        value = notes(text, *others, **named)
        return {**value, "total": [float("nan")]} if "total" in value else value

    monkeypatch.setattr("data_prep.building.builder.json.loads", spoilt)
    with pytest.raises(ValueError, match=r"the train split: .* is not a finite number"):
        build_dataset(VolumeRecipe(), tmp_path / "x" / "out")
    assert not (tmp_path / "x").exists()
