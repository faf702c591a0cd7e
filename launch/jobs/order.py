"""launch.json: what a run's jobs need to know. The pickled job holds only the run directory."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from launch.cluster.settings import RetryConfig
from pipeline.config.schema import build
from pipeline.files.atomic import write_json

ORDER_FILE = "launch.json"


@dataclass(frozen=True)
class Order:
    """How a run is to be run. `time_limit_s` is None where a job has no limit.

    `code` is the snapshot's path, `digest` its content; `stage` the node's disk to copy
    the dataset to, None to read it where it lies.
    """

    submission: str
    code: str
    digest: str | None
    num_ranks: int
    time_limit_s: float | None
    signal_before_s: float
    join_timeout_s: float
    stage: str | None
    data: str
    retry: RetryConfig = RetryConfig()


def write_order(run_dir: Path, order: Order) -> None:
    """Write launch.json."""
    write_json(run_dir / ORDER_FILE, dataclasses.asdict(order))


def read_order(run_dir: Path) -> Order:
    """Read launch.json; FileNotFoundError or ValueError if that cannot be done."""
    path = run_dir / ORDER_FILE
    try:
        return build(Order, json.loads(path.read_text()))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
