"""Removing what a build wrote, and nothing else; setting a dataset aside for its successor.

Files that are not shards, manifests or records of this program are never touched, even in the
folders of the splits. Two marks say to which dataset the shards in a directory belong, wherever a
process was killed:

    manifest.json          a complete dataset; anything left in `.replaced` is superfluous
    .building/plan.json    an unfinished build; the dataset that it replaces is in `.replaced`
    neither of them        the dataset whose mark is in `.replaced`: it was not moved completely

So the mark is moved first when a dataset is set aside, and last when it is restored.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from orbit.core.files.atomic import TEMPORARY_SUFFIX, sync_directory
from orbit.core.files.listing import list_folder
from orbit.core.store.manifest import MANIFEST_NAME, SPLITS

BUILDING = ".building"
PLAN = f"{BUILDING}/plan.json"
REPLACED = ".replaced"
DRAFTS = f".shard_*{TEMPORARY_SUFFIX}"
SHARDS = ("shard_*.h5", DRAFTS)


def is_ours(out: Path) -> bool:
    """Whether `out` holds a dataset, complete or unfinished."""
    return _is_marked(out) or _is_marked(out / REPLACED)


def is_started(out: Path) -> bool:
    """Whether `out` holds a build that was started and is not complete."""
    return (out / PLAN).exists() and not (out / MANIFEST_NAME).exists()


def foreign_split(out: Path) -> Path | None:
    """A non-empty folder named like a split in a directory without a dataset, if there is one."""
    if is_ours(out):
        return None
    found = [out / name for name in SPLITS if os.path.lexists(out / name)]
    return next((path for path in found if not path.is_dir() or any(path.iterdir())), None)


def clear(out: Path) -> None:
    """Remove a dataset's files below `out`, and its folders if nothing else is in them."""
    (out / MANIFEST_NAME).unlink(missing_ok=True)
    for split in SPLITS:
        for path in _shards(out / split):
            path.unlink(missing_ok=True)
        remove_if_empty(out / split)
    _remove_notes(out)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder if it exists and is empty."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def remove_drafts(out: Path) -> None:
    """Remove half-written files of writers that have ended."""
    patterns = {
        out: f".{MANIFEST_NAME}.*{TEMPORARY_SUFFIX}",
        out / BUILDING: f".*{TEMPORARY_SUFFIX}",
    }
    patterns.update({out / split: DRAFTS for split in SPLITS})
    for folder, pattern in patterns.items():
        for draft in list_folder(folder, pattern):
            draft.unlink(missing_ok=True)


def settle(out: Path) -> None:
    """Finish what a killed process has left half done.

    Afterwards `out` holds a complete dataset, or an unfinished build that may replace one, or
    nothing.
    """
    if (out / MANIFEST_NAME).exists():
        tidy(out)
    elif not (out / PLAN).exists():
        _move_back(out)


def tidy(out: Path) -> None:
    """Remove what the build of a complete dataset has left, as far as possible."""
    with contextlib.suppress(OSError):
        _remove_notes(out)
        if (out / REPLACED).is_dir():
            clear(out / REPLACED)
            remove_if_empty(out / REPLACED)


def has_leftovers(out: Path) -> bool:
    """Whether there is something to `tidy`."""
    return (out / BUILDING).exists() or (out / REPLACED).exists()


def set_aside(out: Path) -> None:
    """Set a dataset aside for the one that replaces it.

    `out` must be settled. A dataset that was set aside before is kept, and its unfinished successor
    is removed.
    """
    replaced = out / REPLACED
    if has_replaced(out):
        clear(out)
        return
    mark = BUILDING
    if (out / MANIFEST_NAME).exists():
        mark = MANIFEST_NAME
        _remove_notes(out)
    clear(replaced)
    replaced.mkdir(exist_ok=True)
    _sync(out)
    os.rename(out / mark, replaced / mark)
    _sync(replaced, out)
    _move_shards(out, replaced)


def restore_replaced(out: Path) -> None:
    """Undo `set_aside`, if it was done, and remove what was built meanwhile."""
    if not _is_marked(out / REPLACED) or (out / MANIFEST_NAME).exists():
        return
    if (out / PLAN).exists():
        clear(out)
    _move_back(out)


def has_replaced(out: Path) -> bool:
    """Whether a dataset is set aside until another is complete."""
    return _is_marked(out / REPLACED) and not (out / MANIFEST_NAME).exists()


def _move_back(out: Path) -> None:
    replaced = out / REPLACED
    if not _is_marked(replaced):
        return
    _move_shards(replaced, out)
    for mark in (BUILDING, MANIFEST_NAME):
        if (replaced / mark).exists():
            os.rename(replaced / mark, out / mark)
    # The new folder is flushed before the old one, so that in between both hold the names.
    _sync(out, replaced)
    remove_if_empty(replaced)


def _move_shards(here: Path, there: Path) -> None:
    shards = {split: _shards(here / split) for split in SPLITS}
    for split in SPLITS:
        if shards[split]:
            (there / split).mkdir(exist_ok=True)
    _sync(there)
    for split, paths in shards.items():
        for path in paths:
            os.rename(path, there / split / path.name)
        _sync(there / split, here / split)
        remove_if_empty(here / split)
    _sync(here)


def _is_marked(folder: Path) -> bool:
    return (folder / MANIFEST_NAME).is_file() or (folder / PLAN).is_file()


def _shards(folder: Path) -> list[Path]:
    return [path for pattern in SHARDS for path in list_folder(folder, pattern)]


def _remove_notes(out: Path) -> None:
    """Remove the records of a build, and its mark last: until then its shards belong to it."""
    for path in _notes(out / BUILDING):
        path.unlink(missing_ok=True)
    (out / PLAN).unlink(missing_ok=True)
    shutil.rmtree(out / BUILDING, ignore_errors=True)


def _notes(folder: Path) -> Iterator[Path]:
    return (path for path in list_folder(folder) if path.name != Path(PLAN).name)


def _sync(*folders: Path) -> None:
    for folder in folders:
        if folder.is_dir():
            sync_directory(folder)
