"""What `launch/prepare.py` was asked to do."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.settings import PrepareConfig
from data_prep.settings.sources import PATH_FIELDS
from launch.cluster.settings import ClusterConfig, InlineConfig
from pipeline.config.compose import compose, split_word
from pipeline.config.schema import build

PATH_KEYS = frozenset({"out", *(f"source.{field}" for field in PATH_FIELDS)})
INLINE_KEYS = frozenset({"num_workers"})


@dataclass(frozen=True)
class PreparationRequest:
    """The launcher's own keys. `shards_per_task` is null for one, or what an array needs."""

    cluster: ClusterConfig
    shards_per_task: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.shards_per_task is None:
            return
        if self.shards_per_task < 1:
            raise ValueError(f"shards_per_task={self.shards_per_task} must be at least 1")
        if isinstance(self.cluster, InlineConfig):
            raise ValueError("shards_per_task has no effect with cluster=inline")


OWN_KEYS = tuple(PreparationRequest.__dataclass_fields__)


def read_request(words: Sequence[str]) -> tuple[PreparationRequest, PrepareConfig]:
    """The launcher's own configuration and that of the dataset, with absolute paths.

    Raises ValueError with one line if one of them is refused.
    """
    own, others = split_words(words)
    request = build(PreparationRequest, compose("launch_prepare", own, frozenset()))
    config = build(PrepareConfig, compose("prepare", others, PATH_KEYS, {"source": "dataset"}))
    if not isinstance(request.cluster, InlineConfig):
        for key in (split_word(word)[0] for word in others):
            if key in INLINE_KEYS:
                raise ValueError(f"{key} has no effect with cluster={request.cluster.name}")
    return request, with_absolute_paths(config)


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The launcher's own words, and those of the dataset's configuration."""
    own: list[str] = []
    others: list[str] = []
    for word in words:
        is_own = split_word(word)[0].split(".")[0] in OWN_KEYS
        (own if is_own else others).append(word)
    return own, others


def with_absolute_paths(config: PrepareConfig) -> PrepareConfig:
    """The same preparation, whatever the working directory of who carries it out."""
    paths = {
        field: os.path.abspath(value)
        for field in PATH_FIELDS
        if (value := getattr(config.source, field, None)) is not None
    }
    source = dataclasses.replace(config.source, **paths)
    return dataclasses.replace(config, out=os.path.abspath(config.out), source=source)
