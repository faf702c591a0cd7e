"""How much memory and how many open files this process may still use."""

import os
import resource
from pathlib import Path

MEMORY_INFO = Path("/proc/meminfo")
OWN_GROUPS = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")
PLACES = (
    # Folder, file of the limit, file of the usage, and lines of memory.stat that can be reclaimed.
    ("", "memory.max", "memory.current", ("inactive_file", "active_file")),
    (
        "memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        ("total_inactive_file", "total_active_file"),
    ),
)
"""Files of control groups, of version 2 and of version 1."""


def available_memory() -> int:
    """Bytes that can be allocated, or filled with cached files, before memory is short.

    It is the smaller of the machine's available memory (including cached files) and what the limits
    of this process's control groups leave.
    """
    return min([_free_on_machine(), *_left_in_groups()])


def _free_on_machine() -> int:
    for line in MEMORY_INFO.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    raise ValueError(f"{MEMORY_INFO} does not say how much memory is available")


def _left_in_groups() -> list[int]:
    """The bytes left by the limit of the process's control group and of each group above it."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return []
    left = []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        is_first_version = "memory" in controllers.split(",")
        if number != "0" and not is_first_version:
            continue
        top, limit, use, stays = PLACES[1 if is_first_version else 0]
        relative = Path(path.lstrip("/"))
        for group in (relative, *relative.parents):
            folder = GROUPS / top / group
            try:
                most = int((folder / limit).read_text())
                used = int((folder / use).read_text())
                statistics = dict(
                    pair.split(" ", 1) for pair in (folder / "memory.stat").read_text().splitlines()
                )
            except (OSError, ValueError):
                # No limit ("max"), no such file, or a group that is not visible from inside a
                # container.
                continue
            left.append(most - used + sum(int(statistics.get(name, 0)) for name in stays))
    return left


SPARE = 256
"""Files that libraries, logs and sockets of a program may need besides those requested."""


def make_room_for_files(num: int, root: Path) -> None:
    """Let this process hold `num` more files open, all below `root`.

    Raises ValueError if the system allows fewer.
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
