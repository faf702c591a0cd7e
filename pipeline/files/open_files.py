"""Room for open files: a process may hold about a thousand by default, and more if it asks."""

import os
import resource
from pathlib import Path

SPARE = 256
"""Files that libraries, logs and sockets of a program may need beside those it asks room for."""


def make_room_for_files(num: int, root: Path) -> None:
    """Let this process hold `num` more files open, all below `root`.

    Raises ValueError if the system lets it hold fewer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = float("inf") if hard == resource.RLIM_INFINITY else hard
    num_open = len(os.listdir("/dev/fd"))
    if soft == resource.RLIM_INFINITY or num_open + num + SPARE <= soft:
        return
    if num_open + num > most:
        raise ValueError(
            f"{root} has {num:,} files to hold open, and a process here may hold {most:,}"
            " (ulimit -Hn): have that limit raised, or prepare the dataset with a larger"
            " dataset.shard_mib"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(min(num_open + num + SPARE, most)), hard))
