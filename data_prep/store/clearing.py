"""Removing what a build wrote, and nothing else.

Whatever is not a shard, a manifest or a note of this program stays where it is, even
in the folders of the splits. A dataset that is overwritten is set aside until the new
one is complete.
"""

import os
import shutil
from pathlib import Path

from data_prep.store.manifest import MANIFEST_NAME, SPLITS
from pipeline.files.atomic import TEMPORARY_SUFFIX

BUILDING = ".building"
PLAN = f"{BUILDING}/plan.json"
REPLACED = ".replaced"
SHARDS = ("shard_*.h5", f".shard_*{TEMPORARY_SUFFIX}")


def is_ours(out: Path) -> bool:
    """Whether `out` holds a dataset, complete or not."""
    return (out / MANIFEST_NAME).is_file() or (out / PLAN).is_file()


def foreign_split(out: Path) -> Path | None:
    """A folder named like a split in a directory that holds no dataset."""
    found = [out / name for name in SPLITS if (out / name).exists()]
    return found[0] if found and not is_ours(out) else None


def clear(out: Path) -> None:
    """Remove a dataset's files below `out`, and its folders where nothing else is in them."""
    (out / MANIFEST_NAME).unlink(missing_ok=True)
    for split in SPLITS:
        for pattern in SHARDS:
            for path in (out / split).glob(pattern):
                path.unlink()
        remove_if_empty(out / split)
    shutil.rmtree(out / BUILDING, ignore_errors=True)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder that is there and empty."""
    try:
        folder.rmdir()
    except OSError:
        pass


def set_aside(out: Path) -> None:
    """Move a dataset out of the way of the one that replaces it."""
    forget_replaced(out)
    (out / REPLACED).mkdir()
    for name in (MANIFEST_NAME, BUILDING, *SPLITS):
        if (out / name).exists():
            os.rename(out / name, out / REPLACED / name)


def restore_replaced(out: Path) -> None:
    """Undo `set_aside`, if it was done, in place of what was built meanwhile."""
    if not (out / REPLACED).is_dir():
        return
    clear(out)
    for path in (out / REPLACED).iterdir():
        if not (out / path.name).exists():
            os.rename(path, out / path.name)
    remove_if_empty(out / REPLACED)


def forget_replaced(out: Path) -> None:
    """Remove a dataset that was set aside."""
    if (out / REPLACED).is_dir():
        clear(out / REPLACED)
        remove_if_empty(out / REPLACED)
