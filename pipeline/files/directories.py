"""Making and removing directories, so that either survives a lost node or a busy file system."""

import errno
import os
import shutil
from pathlib import Path

from pipeline.files.atomic import sync_directory

STILL_IN_USE = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY})
"""What a network file system answers while somebody reads a file that is being removed."""


def make_directory(path: Path) -> None:
    """Make a directory, and those above it, and put the new entries on disk."""
    missing = []
    place = path
    while not os.path.lexists(place):
        missing.append(place)
        place = place.parent
    path.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_directory(made.parent)


def remove_tree(path: Path) -> bool:
    """Remove a directory and all in it, or a file; nothing there is fine.

    Returns False, and leaves what is left, where somebody still reads a file in it. Any
    other error is raised.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        # Somebody else removes the same.
        return not path.exists()
    except OSError as error:
        if error.errno not in STILL_IN_USE:
            raise
        return False
    return True
