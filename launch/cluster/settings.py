"""Settings of clusters: every file in `configs/cluster/` is one of these classes."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from orbit.core.config.limits import Count, Positive, at_least, limited

FromZero = Annotated[int, at_least(0)]


@dataclass(frozen=True)
@limited
class RetryConfig:
    """How often a run is requeued after each kind of interruption.

    `max_faults` counts faults of the cluster (a lost node, a broken connection) in a
    row without a newer checkpoint in between.
    """

    max_preemptions: FromZero = 1000
    max_timeouts: FromZero = 50
    max_faults: FromZero = 3


@dataclass(frozen=True)
@limited
class SlurmConfig:
    """Resources of one run on a SLURM cluster, and how jobs are submitted.

    `time` is minutes or SLURM's own notation (`[days-]hours:minutes:seconds`). `setup` lines run on
    every node's batch shell before the program (modules, a virtual environment); `python` replaces
    the interpreter, if necessary after the command of a container. `signal_before_s` is how long
    before the time limit a run is told to save. `array_limit` limits the tasks of one job array (in
    addition to the cluster's own limit), `max_running` the runs of one submission at a time.
    `options` are further sbatch options (`{nice: 100}`).
    """

    name: Literal["slurm"]
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    nodes: Count = 1
    tasks_per_node: Count = 1
    gpus_per_node: FromZero = 0
    cpus_per_task: Count = 1
    memory_gb: Positive | None = None
    time: str | int = 60
    signal_before_s: Count = 120
    setup: tuple[str, ...] = ()
    python: str | None = None
    options: dict[str, str | int] | None = None
    node_disk: str = "/tmp"
    join_timeout_s: Count = 600
    array_limit: Count = 1000
    max_running: Count | None = None
    retry: RetryConfig = RetryConfig()

    def __post_init__(self) -> None:
        if self.gpus_per_node and self.gpus_per_node != self.tasks_per_node:
            raise ValueError(
                f"gpus_per_node={self.gpus_per_node} must equal tasks_per_node="
                f"{self.tasks_per_node}: every rank has one GPU"
            )
        if self.signal_before_s >= 60 * minutes_of(self.time):
            raise ValueError(
                f"signal_before_s={self.signal_before_s} is not below time={self.time}"
            )

    @property
    def num_ranks(self) -> int:
        """Ranks of a run."""
        return self.nodes * self.tasks_per_node

    @property
    def time_min(self) -> int:
        """Time limit of a job in minutes."""
        return minutes_of(self.time)


@dataclass(frozen=True)
@limited
class LocalConfig:
    """This machine: at most `max_running` runs at a time, in the background.

    With GPUs each run has its own; `num_ranks` above 1 (processes per run) works on CPUs only.
    """

    name: Literal["local"]
    max_running: Count = 1
    num_ranks: Count = 1
    gpus: tuple[int, ...] = ()
    node_disk: str = "/tmp"
    retry: RetryConfig = RetryConfig()

    def __post_init__(self) -> None:
        if self.gpus and len(self.gpus) < self.max_running:
            raise ValueError(
                f"max_running={self.max_running} needs as many gpus, not {list(self.gpus)}"
            )
        if self.gpus and self.num_ranks > 1:
            raise ValueError(f"num_ranks={self.num_ranks}: a run has one GPU; give gpus=[]")


@dataclass(frozen=True)
class InlineConfig:
    """This process, one run after another, for debugging."""

    name: Literal["inline"]
    node_disk: str = "/tmp"
    num_ranks: Literal[1] = 1


ClusterConfig = SlurmConfig | LocalConfig | InlineConfig

TIME = re.compile(r"(?:([0-9]+)-)?([0-9]+)(?::([0-9]+))?(?::([0-9]+))?")


def minutes_of(time: str | int) -> int:
    """Minutes of a SLURM time: minutes, M:S, H:M:S, D-H, D-H:M or D-H:M:S; seconds round up.

    Raises ValueError for anything else.
    """
    match = TIME.fullmatch(str(time).strip())
    if match is None:
        raise ValueError(f"time={time} cannot be read; examples: 90, 8:00:00, 2-12:00:00")
    days, *given = match.groups()
    parts = [int(part) for part in given if part is not None]
    if days is not None:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0, (*parts, 0)[:2]
    total = (int(days or 0) * 24 + hours) * 60 + minutes + -(-seconds // 60)
    if total < 1:
        raise ValueError(f"time={time} must be at least a minute")
    return total
