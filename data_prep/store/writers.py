"""Who writes shards of a directory without holding its lock: the jobs of a preparation.

Many of them share a directory. Each leaves a note there as long as it lives, so that a
preparation by one process does not take their half-written files for those of the dead.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.files.listing import list_folder
from pipeline.files.lock import DirectoryLock

NOTE = ".writer-"


@contextmanager
def announced(out: Path) -> Iterator[None]:
    """Leave a note in `out` that this process writes shards there."""
    with DirectoryLock(out, "preparations", file=f"{NOTE}{uuid.uuid4().hex[:12]}"):
        yield


def refuse_living_writers(out: Path) -> None:
    """Raise ValueError if a job writes shards of `out`; notes of the dead are removed.

    Where a note's owner cannot be seen from here this waits until it is known to live or
    to be dead, which it says.
    """
    for note in list_folder(out, f"{NOTE}*"):
        try:
            with DirectoryLock(out, "preparations", file=note.name):
                pass
        except ValueError as error:
            raise ValueError(
                f"{error}; it is a job of launch/prepare.py: wait, or end it"
            ) from None
