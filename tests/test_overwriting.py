"""Protects overwriting: the old dataset stays until the new one is complete.

A preparation with overwrite=true is killed before every single change that it makes to the
disk. Whatever comes next, at no point is neither of the two datasets whole: said again, it
goes on with the finished shards; if it fails, the old dataset comes back as it was.
"""

import errno
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from helpers.recipes import VolumeRecipe
from test_builder import contents

from data_prep.building import clearing
from data_prep.building.builder import build_dataset, start_build
from data_prep.building.recipe import ShardPlan
from orbit.core.files.atomic import sha256_of_file
from orbit.core.store.manifest import FrameSpec
from orbit.core.store.reader import PairStore, check_files

pytestmark = pytest.mark.usefixtures("starts_are_warm")

CHANGES = ("rename", "replace", "unlink", "rmdir", "mkdir", "link")
TINY = {"num_train": 1, "num_held_out": 1, "items_per_shard": 1}
FRAMES = FrameSpec((1, 2, 2, 2), "float16", (-2.0, 2.0), (-1.0, 1.0))


def tiny(seed: int) -> VolumeRecipe:
    return VolumeRecipe(**TINY, seed=seed, frames=FRAMES)


class Failing(VolumeRecipe):
    """The same dataset by its settings; its last split cannot be made."""

    def blocks(self, plan: ShardPlan):
        if plan.split == "test":
            raise NoMoreImages
        return super().blocks(plan)


def failing(seed: int) -> VolumeRecipe:
    return Failing(**TINY, seed=seed, frames=FRAMES)


class NoMoreImages(OSError):
    pass


class Killed(BaseException):
    """No clean-up of any kind follows."""


@contextmanager
def killed_before(change: int) -> Iterator[list[str]]:
    """Every change of the disk from number `change` on does not happen any more."""
    done: list[str] = []
    with pytest.MonkeyPatch.context() as patches:

        def counting(name: str, plain: Callable[..., object]) -> Callable[..., object]:
            def counted(*arguments, **named):
                # The lock is not the dataset's, and is taken from the dead anyway.
                if ".lock" not in os.fspath(arguments[0]):
                    if len(done) >= change:
                        raise Killed
                    done.append(name)
                return plain(*arguments, **named)

            return counted

        for name in CHANGES:
            patches.setattr(os, name, counting(name, getattr(os, name)))
        yield done


def attempt(change: int, action: Callable[[], object]) -> bool:
    """Whether an action came to its end before it was killed."""
    with killed_before(change):
        try:
            action()
        except Killed:
            return False
    return True


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, str]]:
    """Contents of the tiny datasets by their seeds; their folders are kept by `old`."""
    root = tmp_path_factory.mktemp("tiny")
    found = {}
    for seed in range(4):
        build_dataset(tiny(seed), root / str(seed))
        found[seed] = contents(root / str(seed))
    found[-1] = {"root": str(root)}
    return found


@pytest.fixture
def fresh(datasets, tmp_path: Path) -> Callable[[], Path]:
    """Each call gives a new copy of the old dataset, of seed 0."""
    numbers = iter(range(10_000))

    def copy() -> Path:
        to = tmp_path / str(next(numbers))
        return Path(shutil.copytree(Path(datasets[-1]["root"]) / "0", to))

    return copy


def num_changes(out: Path) -> int:
    with killed_before(10_000) as done:
        build_dataset(tiny(1), out, overwrite=True)
    return len(done)


def whole_one(out: Path, datasets) -> int:
    """The seed of the dataset that is whole here or set aside; fails if none is."""
    kept = [path.relative_to(out) for path in out.rglob("*.h5")]
    by_sum = {sha256_of_file(out / path) for path in kept}
    wholes = [
        seed
        for seed, files in datasets.items()
        if seed >= 0
        and {total for name, total in files.items() if name.endswith(".h5")} <= by_sum
        and files["manifest.json"] in {sha256_of_file(path) for path in out.rglob("manifest.json")}
    ]
    assert wholes, sorted(map(str, kept))
    return wholes[0]


def test_killed_before_any_change_nothing_is_lost(fresh, datasets) -> None:
    total = num_changes(fresh())
    assert total > 30
    for change in range(total):
        out = fresh()
        assert not attempt(change, lambda out=out: build_dataset(tiny(1), out, overwrite=True))
        is_new = (out / "manifest.json").exists() and contents(out)["manifest.json"] == datasets[1][
            "manifest.json"
        ]
        whole_one(out, datasets)
        spare = Path(shutil.copytree(out, out.with_name(f"{out.name}-spare")))

        # Said again, it ends as if nothing had been.
        build_dataset(tiny(1), out, overwrite=True)
        assert contents(out) == datasets[1], change
        assert not (out / ".replaced").exists()

        # If it fails instead, the last complete dataset is there as it was.
        with suppress(NoMoreImages):
            build_dataset(failing(1), spare, overwrite=True)
            is_new = True  # No shard was left to fail at.
        assert contents(spare) == datasets[1 if is_new else 0], change


def test_killed_while_it_restores_the_old_dataset_comes_back(fresh, datasets) -> None:
    """The second sequence: a failure puts the old one back, and is killed on the way."""

    def fail(out: Path) -> None:
        with pytest.raises(NoMoreImages):
            build_dataset(failing(1), out, overwrite=True)

    out = fresh()
    with killed_before(10_000) as done:
        fail(out)
    for change in range(0, len(done), 2):
        out = fresh()
        assert not attempt(change, lambda out=out: fail(out))
        whole_one(out, datasets)
        with pytest.raises(NoMoreImages):
            build_dataset(failing(1), out, overwrite=True)
        assert contents(out) == datasets[0], change


def test_killed_again_and_again_with_other_settings(fresh, datasets) -> None:
    """However often, and whichever dataset is asked for: there is always a whole one."""
    draw = random.Random(0)
    for _ in range(12):
        out = fresh()
        for _ in range(4):
            seed = draw.choice([1, 2, 3])
            make = draw.choice([tiny, failing])
            action = partial(build_dataset, make(seed), out, overwrite=True)
            with suppress(NoMoreImages):
                attempt(draw.randrange(60), action)
            whole_one(out, datasets)
        build_dataset(tiny(3), out, overwrite=True)
        assert contents(out) == datasets[3]


def test_without_overwrite_the_old_dataset_is_found_again(fresh, datasets) -> None:
    """Killed while it was moved: the old configuration finds its dataset complete."""
    for change in range(8):
        out = fresh()
        attempt(change, lambda out=out: start_build(tiny(1), out, overwrite=True))
        if (out / ".building/plan.json").exists():
            break
        build_dataset(tiny(0), out)
        assert contents(out) == datasets[0]


def test_finished_shards_of_the_new_dataset_are_kept(fresh, datasets) -> None:
    out = fresh()

    class Dying(VolumeRecipe):
        def blocks(self, plan: ShardPlan):
            if plan.split == "test":
                raise Killed
            return super().blocks(plan)

    with pytest.raises(Killed):
        build_dataset(Dying(**TINY, seed=1, frames=FRAMES), out, overwrite=True)
    finished = sorted(out.glob("*/shard_*.h5"))
    assert len(finished) == 2
    before = {path: path.stat().st_mtime_ns for path in finished}
    build_dataset(tiny(1), out, overwrite=True)
    assert {path: path.stat().st_mtime_ns for path in finished} == before
    assert contents(out) == datasets[1]


def test_an_error_of_other_settings_leaves_the_build_under_way(fresh, datasets) -> None:
    """A refusal is not a failure of the build: nothing of it is touched."""
    out = fresh()
    start_build(tiny(1), out, overwrite=True)
    before = contents(out)
    with pytest.raises(ValueError, match="unfinished dataset made with another configuration"):
        build_dataset(tiny(2), out)
    assert contents(out) == before
    build_dataset(tiny(1), out)
    assert contents(out) == datasets[1]


def test_files_of_others_stay_where_they_are(fresh, datasets) -> None:
    """Also if the overwriting is killed, fails, and is done again."""
    out = fresh()
    (out / "train" / "mine.png").write_text("picture")
    for change in (5, 9, 20):
        attempt(change, lambda: build_dataset(tiny(1), out, overwrite=True))
    with pytest.raises(NoMoreImages):
        build_dataset(failing(2), out, overwrite=True)
    assert contents(out) == {**datasets[0], "train/mine.png": contents(out)["train/mine.png"]}
    for seed in (1, 2):
        build_dataset(tiny(seed), out, overwrite=True)
        store = PairStore(out)
        check_files(out, store.manifest)
    assert (out / "train" / "mine.png").read_text() == "picture"


def test_an_unfinished_dataset_of_other_settings_is_put_back_too(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(NoMoreImages):
        build_dataset(failing(1), out)
    before = contents(out)
    assert len(before) > 2
    with pytest.raises(NoMoreImages):
        build_dataset(failing(2), out, overwrite=True)
    assert contents(out) == before


def test_a_build_killed_at_its_start_can_be_started_again(tmp_path: Path, datasets) -> None:
    """Where nothing was before: folders that a killed start has left are not taken for others'."""
    with killed_before(10_000) as done:
        build_dataset(tiny(1), tmp_path / "whole")
    for change in range(len(done)):
        out = tmp_path / str(change)
        attempt(change, lambda out=out: build_dataset(tiny(1), out))
        build_dataset(tiny(1), out)
        assert contents(out) == datasets[1], change


def test_a_name_is_on_disk_at_its_new_place_before_it_leaves_the_old_one(
    fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is lost between two folders' flushes must not lose what moved between them."""
    log: list[tuple[str, Path, Path]] = []
    rename, sync = os.rename, clearing.sync_directory

    def moved(here: Path, there: Path) -> None:
        log.append(("moved", Path(here).parent, Path(there).parent))
        rename(here, there)

    def synced(folder: Path) -> None:
        log.append(("synced", folder, folder))
        sync(folder)

    monkeypatch.setattr(os, "rename", moved)
    monkeypatch.setattr(clearing, "sync_directory", synced)
    out = fresh()
    clearing.set_aside(out)
    clearing.restore_replaced(out)
    moves = [
        (place, here, there) for place, (what, here, there) in enumerate(log) if what == "moved"
    ]
    assert len({here for _, here, _ in moves}) > 4
    for place, here, there in moves:
        later = [folder for what, folder, _ in log[place:] if what == "synced"]
        assert later.index(there) < later.index(here)


def test_a_listing_that_fails_costs_no_dataset(
    fresh, datasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One listing fails, then the build does: what was to be replaced is there as it was."""
    real = {name: getattr(os, name) for name in ("listdir", "scandir")}
    left = 0

    def listing(name: str, folder: Path) -> object:
        nonlocal left
        left -= 1
        if left == -1:
            raise OSError(errno.EACCES, "Permission denied", str(folder))
        return real[name](folder)

    for place in range(0, 60, 3):
        out, left = fresh(), place
        with monkeypatch.context() as patches, suppress(OSError):
            for name in real:
                patches.setattr(os, name, partial(listing, name))
            build_dataset(failing(1), out, overwrite=True)
        if left >= 0:
            break
        whole_one(out, datasets)
        with pytest.raises(NoMoreImages):
            build_dataset(failing(1), out, overwrite=True)
        assert contents(out) == datasets[0], place
    assert place > 20


def test_finished_shards_stay_where_their_notes_cannot_be_listed(
    tmp_path: Path, datasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second member: a build that fails while nobody can say whether it has finished any."""
    out = tmp_path / "out"
    real = os.listdir

    def listing(folder: Path = Path()) -> list[str]:
        if Path(folder).name == ".building":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return real(folder)

    with pytest.raises(NoMoreImages):
        build_dataset(failing(1), out)
    before = contents(out)
    monkeypatch.setattr(os, "listdir", listing)
    with pytest.raises(PermissionError):
        build_dataset(failing(1), out)
    assert contents(out) == before
    assert len(before) > 2
