"""The request of `launch/prepare.py`, and the directory of its jobs.

<out>.jobs/
  submissions/<name>/order.json           configuration, tasks and code of one submission
  submissions/<name>/failed/<task>.json   why a task failed
  jobs/                                   submitted jobs, one file for each array
  logs/                                   output of the jobs, by job
  code/                                   snapshots of the code that was submitted
"""

import dataclasses
import json
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.settings import PrepareConfig
from launch.cluster.settings import ClusterConfig, InlineConfig
from orbit.core.config.compose import compose, split_override
from orbit.core.config.limits import Count, limited
from orbit.core.config.roots import take_configs
from orbit.core.config.schema import build, path_keys, read_json_as, with_paths
from orbit.core.files.atomic import write_json
from orbit.core.files.listing import list_folder

INLINE_KEYS = frozenset({"num_workers"})


@dataclass(frozen=True)
@limited
class PreparationRequest:
    """The launcher's own keys. `shards_per_task` null means one, or as many as the limit of an
    array needs."""

    cluster: ClusterConfig
    shards_per_task: Count | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.shards_per_task is not None and isinstance(self.cluster, InlineConfig):
            raise ValueError("shards_per_task has no effect with cluster=inline")


OWN_KEYS = tuple(PreparationRequest.__dataclass_fields__)


def read_request(overrides: Sequence[str]) -> tuple[PreparationRequest, PrepareConfig]:
    """The launcher's own configuration and that of the dataset, with absolute paths.

    Raises ValueError with one line if one of them is refused.
    """
    own, others = split_overrides(take_configs(overrides))
    request = build(PreparationRequest, compose("launch_prepare", own, frozenset()))
    composed = compose("prepare", others, path_keys(PrepareConfig), {"source": "dataset"})
    config = build(PrepareConfig, composed)
    if not isinstance(request.cluster, InlineConfig):
        for key in (split_override(override)[0] for override in others):
            if key in INLINE_KEYS:
                raise ValueError(f"{key} has no effect with cluster={request.cluster.name}")
    return request, with_paths(config, os.path.abspath)


def split_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides of the launcher, and those of the dataset's configuration."""
    own: list[str] = []
    others: list[str] = []
    for override in overrides:
        is_own = split_override(override)[0].split(".")[0] in OWN_KEYS
        (own if is_own else others).append(override)
    return own, others


MANIFEST_TASK = "manifest"
"""The task that writes the manifest when all shards are finished."""


def default_shards_per_task(num_shards: int, array_limit: int) -> int:
    """One, or as many as are needed for at most `array_limit` tasks."""
    return max(1, -(-num_shards // array_limit))


def group_shards(files: Sequence[str], shards_per_task: int) -> dict[str, tuple[str, ...]]:
    """Tasks of `shards_per_task` shards, the last one with the rest, in the order of the shards.

    A task has the name of its first shard and the number of further ones: `train-00000+3`.
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


SUBMISSIONS = "submissions"
ORDER_FILE = "order.json"
FAILED = "failed"


@dataclass(frozen=True)
class PrepareOrder:
    """The order of a submission, for its jobs: `tasks` maps a name to files of shards.

    `code` is the snapshot's path and `digest` its checksum; `time_limit_s` is None if a job has no
    limit; an interrupted job is restarted up to `max_restarts` times.
    """

    config: PrepareConfig
    code: str
    digest: str
    tasks: dict[str, tuple[str, ...]]
    time_limit_s: float | None = None
    signal_before_s: float = 60.0
    max_restarts: int = 0


class JobsDirectory:
    """Paths and small files of a preparation."""

    def __init__(self, out: Path) -> None:
        self.path = out.with_name(f"{out.name}.jobs")
        self.code = self.path / "code"
        self.submissions = self.path / SUBMISSIONS

    def write_order(self, name: str, order: PrepareOrder) -> Path:
        """Write the order of a new submission; returns its folder."""
        folder = self.submissions / name
        folder.mkdir(parents=True)
        write_json(folder / ORDER_FILE, dataclasses.asdict(order))
        return folder

    def last_failures(self) -> dict[str, str]:
        """Why tasks of the latest submission failed, by their names."""
        orders = (folder / ORDER_FILE for folder in list_folder(self.submissions))
        written = filter(Path.is_file, orders)
        last = max(written, key=lambda path: path.stat().st_mtime, default=None)
        if last is None:
            return {}
        notes = list_folder(last.parent / FAILED, "*.json")
        return {path.stem: json.loads(path.read_text())["message"] for path in notes}


def read_order(folder: Path) -> PrepareOrder:
    """Read the order of a submission; FileNotFoundError or ValueError if that cannot be done."""
    return read_json_as(PrepareOrder, folder / ORDER_FILE)


def note_failure(folder: Path, task: str, message: str) -> None:
    """Record why a task of a submission failed."""
    path = folder / FAILED / f"{task}.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"message": message, "host": socket.gethostname(), "time": time.time()})
