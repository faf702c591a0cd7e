"""How the controller of an Optuna search stands, which proposes the trials.

Between two trials no run waits or runs: only the controller tells whether there will be others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.cluster.submission import JobRecord
from launch.jobs.liveness import Liveness
from launch.jobs.run_state import CANCELLED_FILE
from launch.jobs.standing import REASONS, STAYS
from launch.sweeps.search import ORDER_FILE, SUMMARY_FILE
from launch.sweeps.search_command import FAILURE_FILE, TASK
from orbit.core.files.atomic import read_json_object


@dataclass(frozen=True)
class SearchStatus:
    """The state of a controller in words; `is_at_work` means that it may still begin trials."""

    words: str
    is_at_work: bool = False
    is_well: bool = True


def read_search_status(
    sweep: Path, records: Sequence[JobRecord], liveness: Liveness
) -> SearchStatus | None:
    """The state of a sweep's search; None if it is no search, or one that runs in a terminal.

    `records` are those of the sweep's jobs, and `liveness` says which of them exist.
    """
    order = read_json_object(sweep / ORDER_FILE)
    if order is None or not any(record.kind == TASK for record in records):
        return None
    if (order.get("cluster") or {}).get("name") == "inline":
        return None
    summary = read_json_object(sweep / SUMMARY_FILE)
    if summary is not None:
        trials = ", ".join(f"{num} {name}" for name, num in (summary.get("trials") or {}).items())
        return SearchStatus(f"over: {trials}")
    live = liveness.jobs.get(TASK)
    if live is not None and live.state == "waiting":
        why = REASONS.get(live.reason.split(",")[0], live.reason)
        return SearchStatus(f"its controller waits: {why}", True)
    if live is not None:
        return SearchStatus("its controller runs, and begins trials", True)
    if (sweep / CANCELLED_FILE).exists():
        return SearchStatus(f"cancelled; {STAYS}", is_well=False)
    failure = read_json_object(sweep / FAILURE_FILE)
    if failure is not None:
        return SearchStatus(f"its controller failed: {failure.get('message')}", is_well=False)
    if liveness.unchecked is not None:
        return SearchStatus("SLURM does not say whether its controller has a job", True)
    return SearchStatus(f"its controller is gone; {STAYS}", is_well=False)
