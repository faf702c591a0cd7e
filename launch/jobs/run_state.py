"""The state of a run, from its directory and its job."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from launch.jobs.attempt import PRUNED_FILE
from launch.jobs.history import ATTEMPTS, read_attempts
from launch.jobs.liveness import LiveJob
from orbit.core.files.atomic import read_json_object
from orbit.core.files.lock import can_see, is_running

State = Literal[
    "finished",
    "pruned",
    "running",
    "waiting",
    "failed",
    "stopped",
    "cancelled",
    "lost",
    "missing",
    "unknown",
]
CANCELLED_FILE = "cancelled.json"
FRESH_S = 60.0


@dataclass(frozen=True)
class RunState:
    """The state of a run. `detail` says why it waits or failed; numbers come from its heartbeat."""

    state: State
    detail: str = ""
    num_restarts: int = 0
    step: int | None = None
    num_steps: int | None = None
    samples_per_second: float | None = None
    loss: float | None = None
    heartbeat_age_s: float | None = None
    remaining_s: float | None = None

    @property
    def is_well(self) -> bool:
        """Whether the run needs no attention."""
        return self.state in ("finished", "pruned", "running", "waiting")


def read_run_state(
    run_dir: Path, live: LiveJob | None, was_submitted: bool = True, now: float | None = None
) -> RunState:
    """Read a run's state from its files; `live` is its job if that is waiting or running."""
    now = time.time() if now is None else now
    heartbeat = read_json_object(run_dir / "heartbeat.json") or {}
    numbers = _numbers(heartbeat, now)
    if (run_dir / "result.json").exists():
        numbers.pop("remaining_s")
        return RunState("finished", "", count_restarts(run_dir), **numbers)
    error = read_json_object(run_dir / "error.json")
    # Written at the very end: a live job is about to end, or works on another run by now.
    has_failed = error is not None and (live is None or live.state == "running")
    if live is not None and not has_failed:
        detail = live.reason if live.state == "waiting" else ""
        num_restarts = count_restarts(run_dir)
        if live.state == "waiting":
            numbers.pop("remaining_s")
        return RunState(
            "waiting" if live.state == "waiting" else "running", detail, num_restarts, **numbers
        )
    remaining_s = numbers.pop("remaining_s")
    pruned = read_json_object(run_dir / PRUNED_FILE)
    if pruned is not None:
        reason = str(pruned.get("reason", ""))
        return RunState("pruned", reason, count_restarts(run_dir), **numbers)
    if error is not None:
        detail = f"{error.get('kind')}: {error.get('message')}"
        return RunState("failed", detail, count_restarts(run_dir), **numbers)
    if (run_dir / CANCELLED_FILE).exists():
        return RunState("cancelled", "", count_restarts(run_dir), **numbers)
    attempts = read_attempts(run_dir)
    has_ended = bool(attempts) and attempts[-1].reason is not None
    if not has_ended and _is_beating(heartbeat, now):
        numbers["remaining_s"] = remaining_s
        return RunState("running", "seen by its heartbeat", count_restarts(run_dir), **numbers)
    if has_ended and attempts[-1].reason in ("preempted", "timeout"):
        return RunState("stopped", attempts[-1].reason or "", len(attempts) - 1, **numbers)
    if attempts or heartbeat or was_submitted:
        return RunState("lost", "its job is gone", max(0, len(attempts) - 1), **numbers)
    return RunState("missing")


def count_restarts(run_dir: Path) -> int:
    """How often the run was started again."""
    folder = run_dir / ATTEMPTS
    num_attempts = sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
    return max(0, num_attempts - 1)


def _is_beating(heartbeat: dict[str, Any], now: float) -> bool:
    """Whether a heartbeat is recent and, if its process is visible from here, the process still
    runs."""
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
