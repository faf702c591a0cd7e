"""Which shards a task makes. Pure functions."""

from collections.abc import Sequence

MANIFEST_TASK = "manifest"
"""The task that writes the manifest when all shards are finished."""


def default_shards_per_task(num_shards: int, array_limit: int) -> int:
    """One, or as many as it takes to need no more than `array_limit` tasks."""
    return max(1, -(-num_shards // array_limit))


def group_shards(files: Sequence[str], shards_per_task: int) -> dict[str, tuple[str, ...]]:
    """Tasks of `shards_per_task` shards, the last one with the rest, in the order of the shards.

    A task bears the name of its first shard and how many follow it: `train-00000+3`.
    """
    tasks = {}
    for first in range(0, len(files), shards_per_task):
        shards = tuple(files[first : first + shards_per_task])
        others = f"+{len(shards) - 1}" if len(shards) > 1 else ""
        tasks[_shard_name(shards[0]) + others] = shards
    return tasks


def _shard_name(file: str) -> str:
    """`train-00000` for `train/shard_00000.h5`."""
    return file.removesuffix(".h5").replace("/shard_", "-")
