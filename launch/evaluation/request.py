"""What `launch/evaluate.py` was asked to do."""

from dataclasses import dataclass
from typing import Literal

from launch.cluster.settings import ClusterConfig

Checkpoints = Literal["best", "last", "all"]


@dataclass(frozen=True)
class Work:
    """What an evaluator does; jobs read it from a file.

    `runs` is a glob of run directories. `base` is where jobs are recorded.
    """

    runs: str
    base: str
    checkpoints: Checkpoints = "best"
    split: Literal["train", "val", "test"] = "test"
    data: str | None = None
    batch: int | None = None
    num_threads: int = 1
    poll_s: float = 10.0
    analyses: bool = True

    def __post_init__(self) -> None:
        for name in ("batch", "num_threads", "poll_s"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")


@dataclass(frozen=True)
class EvaluateRequest:
    """The keys of `launch/evaluate.py`.

    `analyses=false` measures what is measured during training and no more.
    `num_evaluators` jobs follow the runs with `watch=true`; otherwise each job takes
    up to `checkpoints_per_job` checkpoints. `jobs_dir` is where jobs are recorded:
    the sweep directory by default.
    """

    runs: str
    cluster: ClusterConfig
    checkpoints: Checkpoints = "best"
    split: Literal["train", "val", "test"] = "test"
    data: str | None = None
    batch: int | None = None
    num_threads: int = 1
    analyses: bool = True
    watch: bool = False
    num_evaluators: int | None = None
    poll_s: float | None = None
    checkpoints_per_job: int | None = None
    jobs_dir: str | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        if not self.watch:
            for name in ("num_evaluators", "poll_s"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} has no effect without watch=true")
        elif self.checkpoints_per_job is not None:
            raise ValueError("checkpoints_per_job has no effect with watch=true")
        for name in ("num_evaluators", "checkpoints_per_job"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
