"""The state of a run: the evidence in its directory, and the numbers in its heartbeat."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.jobs.attempt import PRUNED_FILE
from launch.jobs.deciding import ERROR_FILE
from launch.jobs.history import ATTEMPTS, read_attempts
from launch.jobs.standing import AT_WORK, DONE, Evidence, LiveJob, State, decide
from orbit.core.files.atomic import read_json_object
from orbit.core.files.listing import list_folder
from orbit.core.files.lock import can_see, is_running

CANCELLED_FILE = "cancelled.json"
ENDED_FILE = "ended.json"
"""File name known to `pipeline/training/run_directory.py` as well."""
FRESH_S = 60.0


@dataclass(frozen=True)
class RunState:
    """The state of a run, see `launch.jobs.standing`. Numbers are from its heartbeat.

    `detail` is the reason for the state. `lines` are the last lines of its error, `job` is the
    scheduler's id of a live job.
    """

    state: State
    detail: str = ""
    num_restarts: int = 0
    step: int | None = None
    num_steps: int | None = None
    samples_per_second: float | None = None
    loss: float | None = None
    heartbeat_age_s: float | None = None
    remaining_s: float | None = None
    lines: tuple[str, ...] = ()
    gave_up: bool = False
    job: str = ""

    @property
    def is_well(self) -> bool:
        """Whether the run needs no attention."""
        return self.state in (*DONE, *AT_WORK, "pruned")

    @property
    def has_failed(self) -> bool:
        """Whether it would fail again, or was given up after too many tries."""
        return self.state in ("failed", "collapsed") or self.gave_up


def read_run_state(
    run_dir: Path,
    live: LiveJob | None,
    was_submitted: bool = True,
    now: float | None = None,
    ended_as: str | None = None,
) -> RunState:
    """Read a run's files; `live` is its job if that waits or runs, `ended_as` the scheduler's state
    of an ended job."""
    now = time.time() if now is None else now
    heartbeat = read_json_object(run_dir / "heartbeat.json") or {}
    result = read_json_object(run_dir / "result.json")
    is_finished = (run_dir / "result.json").exists()
    standing = decide(
        Evidence(
            is_finished=is_finished,
            ended_early="ended_early" in (result or {}),
            evaluated_on=evaluated_on(run_dir, result) if is_finished else (),
            live=live,
            ended_as=ended_as,
            error=read_json_object(run_dir / ERROR_FILE),
            ending=read_json_object(run_dir / ENDED_FILE),
            pruned=read_json_object(run_dir / PRUNED_FILE),
            cancelled=read_json_object(run_dir / CANCELLED_FILE),
            attempts=() if is_finished else tuple(read_attempts(run_dir)),
            heartbeat_time=heartbeat.get("time"),
            is_beating=_is_beating(heartbeat, now),
            is_seen=is_running(heartbeat),
            was_submitted=was_submitted,
        )
    )
    numbers = _numbers(heartbeat, now)
    if standing.state != "running":
        numbers.pop("remaining_s")
    return RunState(
        standing.state,
        standing.detail,
        count_restarts(run_dir),
        **numbers,
        lines=standing.lines,
        gave_up=standing.gave_up,
        job=live.job if live is not None else "",
    )


def evaluated_on(run_dir: Path, result: dict[str, Any] | None) -> tuple[str, ...]:
    """The splits on which the best checkpoint of a finished run was evaluated."""
    step = (result or {}).get("best_step")
    if not isinstance(step, int):
        return ()
    start = f"step_{step:08d}-"
    files = list_folder(run_dir / "evaluations", f"{start}*.json")
    splits = (file.stem.removeprefix(start) for file in files)
    return tuple(split for split in splits if "-" not in split)


def count_restarts(run_dir: Path) -> int:
    """The number of restarts."""
    folder = run_dir / ATTEMPTS
    num_attempts = sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
    return max(0, num_attempts - 1)


def _is_beating(heartbeat: dict[str, Any], now: float) -> bool:
    """Whether a heartbeat is recent and its process still runs, as far as this machine can tell."""
    if now - heartbeat.get("time", 0.0) >= FRESH_S:
        return False
    return not can_see(heartbeat) or is_running(heartbeat)


def _numbers(heartbeat: dict[str, Any], now: float) -> dict[str, Any]:
    step, num_steps = heartbeat.get("step"), heartbeat.get("num_steps")
    speed = heartbeat.get("samples_per_second")
    remaining = None
    seconds_per_step = heartbeat.get("seconds_per_step")
    if step is not None and num_steps and seconds_per_step:
        remaining = (num_steps - step) * seconds_per_step
    return {
        "step": step,
        "num_steps": num_steps,
        "samples_per_second": speed,
        "loss": heartbeat.get("loss"),
        "heartbeat_age_s": now - heartbeat["time"] if "time" in heartbeat else None,
        "remaining_s": remaining,
    }
