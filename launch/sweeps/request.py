"""The request of `launch/sweep.py`, and the checks before anything is submitted."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launch.cluster.checks import check_cluster, check_datasets, check_ranks
from launch.cluster.settings import ClusterConfig, InlineConfig, SlurmConfig
from launch.sweeps.expansion import RESERVED, PlannedRun
from launch.sweeps.settings import OptunaSearch, SweepConfig
from orbit.core.config.compose import compose, split_override
from orbit.core.config.schema import FilePath, build, path_keys

REPOSITORY = Path(__file__).resolve().parents[2]
GROUPS = ("sweep", "cluster")


@dataclass(frozen=True)
class SweepRequest:
    """The launcher's own keys. `verify=full` compares the checksums of every shard.

    A dry run tells expected hours by the sweep's own runs, or else by the run directory `like`.
    """

    sweep: SweepConfig
    cluster: ClusterConfig
    sweep_dir: FilePath
    stage: bool = False
    verify: Literal["sizes", "full"] = "sizes"
    hold: bool = False
    dry_run: bool = False
    retry_failed: bool = True
    any_code: bool = False
    like: FilePath | None = None

    def __post_init__(self) -> None:
        if self.like is not None and not self.dry_run:
            raise ValueError(f"like={self.like} has no effect without dry_run=true")
        if self.hold and not isinstance(self.cluster, SlurmConfig):
            raise ValueError("hold=true has no effect without SLURM")
        is_search = isinstance(self.sweep.search, OptunaSearch)
        if self.hold and is_search:
            raise ValueError("hold=true: an Optuna search needs results to go on")
        if self.stage and isinstance(self.cluster, InlineConfig):
            raise ValueError("stage=true has no effect with cluster=inline")


OWN_KEYS = tuple(SweepRequest.__dataclass_fields__)


def split_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides of the launcher, and those of the training configuration.

    Raises ValueError for a key of training that a sweep sets itself.
    """
    own: list[str] = []
    training: list[str] = []
    for override in overrides:
        key, _ = split_override(override)
        if key in RESERVED:
            raise ValueError(f"{override} has no effect: {RESERVED[key]}")
        meant = difflib.get_close_matches(key, OWN_KEYS, n=1, cutoff=0.8)
        if meant and "." not in key and key not in OWN_KEYS:
            raise ValueError(f"unknown key {key!r}; did you mean {meant[0]!r}?")
        is_own = key in OWN_KEYS or key.split(".")[0] in GROUPS
        (own if is_own else training).append(override)
    return own, training


def read_request(own_overrides: Sequence[str]) -> SweepRequest:
    """Compose the launcher's own configuration; ValueError with one line if it is refused."""
    return build(SweepRequest, compose("sweep", own_overrides, path_keys(SweepRequest)))


def check_before(
    request: SweepRequest, runs: Sequence[PlannedRun], datasets: Sequence[str]
) -> list[str]:
    """Refuse what cannot work before anything is submitted; returns what was not checked."""
    for run in runs:
        check_ranks(
            run.config.global_batch,
            run.config.accumulation,
            request.cluster.num_ranks,
            run.name,
        )
    check_datasets(datasets, thoroughly=request.verify == "full")
    return check_cluster(request.cluster, Path(request.sweep_dir))
