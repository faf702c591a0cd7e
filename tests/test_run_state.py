"""The state of a run follows from its files and its job."""

import os
from pathlib import Path
from typing import Any

import pytest
from helpers.attempts import FAILURE, begin

from launch.cluster import slurm
from launch.cluster.records import JobRecord, write_record
from launch.jobs.liveness import LiveJob
from launch.jobs.run_state import CANCELLED_FILE, FRESH_S, read_run_state
from launch.reports.status_table import read_status
from launch.reports.watching import is_over
from launch.sweeps.plan import SweepDirectory
from orbit.core.files.atomic import write_json
from orbit.core.files.lock import describe_process

# The state of a run

NOW = 10_000.0
BEGUN = {"submission": "s", "started": 1.0, "first_step": 0}
OLD, FRESH = {"time": NOW - FRESH_S - 1, "step": 3}, {"time": NOW - FRESH_S + 1, "step": 3}
OURS = {**FRESH, **describe_process(os.getpid())}
DEAD = {**OURS, "process_start": "1"}
RUNNING = LiveJob("running", "running", "7", "r")
WAITING = LiveJob("waiting", "Priority", "7", "r")
Files = dict[str, dict[str, Any]]


def ended(reason: str | None) -> Files:
    """An attempt that ended so."""
    files: Files = {"attempts/7-0/begin.json": BEGUN}
    return files if reason is None else {**files, "attempts/7-0/end.json": {"reason": reason}}


def signalled(reason: str) -> Files:
    return {"attempts/7-0/begin.json": BEGUN, "attempts/7-0/signal.json": {"reason": reason}}


RESULT: Files = {"result.json": {}}
ERROR: Files = {"error.json": FAILURE}
CANCELLED: Files = {CANCELLED_FILE: {}}
PRUNED: Files = {"pruned.json": {"reason": "behind"}}


@pytest.mark.parametrize(
    ("files", "live", "was_submitted", "state", "detail"),
    [
        # a result beats everything
        (RESULT, None, True, "finished", ""),
        ({**RESULT, **ERROR, **CANCELLED, **PRUNED}, RUNNING, True, "finished", ""),
        # then the job
        ({}, WAITING, True, "waiting", "Priority"),
        ({}, RUNNING, True, "running", ""),
        (ERROR, RUNNING, True, "failed", "crash: KeyError"),
        (ERROR, WAITING, True, "waiting", "Priority"),
        ({"heartbeat.json": OLD}, RUNNING, True, "running", ""),
        ({**ERROR, **CANCELLED}, WAITING, True, "waiting", "Priority"),
        (ended("timeout"), WAITING, True, "waiting", "Priority"),
        (ended("timeout"), RUNNING, True, "running", ""),
        # then what was written down
        (PRUNED, None, True, "pruned", "behind"),
        ({**PRUNED, **ERROR}, None, True, "pruned", "behind"),
        (ERROR, None, True, "failed", "crash: KeyError"),
        ({**ERROR, **CANCELLED}, None, True, "failed", "crash: KeyError"),
        ({**ERROR, "heartbeat.json": FRESH}, None, True, "failed", "crash: KeyError"),
        (CANCELLED, None, True, "cancelled", ""),
        ({**CANCELLED, "heartbeat.json": FRESH}, None, True, "cancelled", ""),
        # then signs of life
        ({"heartbeat.json": FRESH}, None, False, "running", "seen by its heartbeat"),
        ({"heartbeat.json": FRESH, **ended(None)}, None, True, "running", "seen by its heartbeat"),
        ({"heartbeat.json": OURS}, None, True, "running", "seen by its heartbeat"),
        ({"heartbeat.json": DEAD}, None, True, "lost", "its job is gone"),
        ({"heartbeat.json": FRESH, **ended("timeout")}, None, True, "stopped", "timeout"),
        ({"heartbeat.json": FRESH, **signalled("preempted")}, None, True, "stopped", "preempted"),
        # then the last attempt
        (ended("preempted"), None, True, "stopped", "preempted"),
        (ended("timeout"), None, False, "stopped", "timeout"),
        (ended("cluster_fault"), None, True, "lost", "its job is gone"),
        (ended(None), None, False, "lost", "its job is gone"),
        ({"heartbeat.json": OLD}, None, False, "lost", "its job is gone"),
        ({"heartbeat.json": OLD, **ended(None)}, None, True, "lost", "its job is gone"),
        # then whether anybody ever asked for it
        ({}, None, True, "lost", "its job is gone"),
        ({}, None, False, "missing", ""),
    ],
)
def test_the_state_of_a_run_follows_from_its_files_and_its_job(
    files: Files,
    live: LiveJob | None,
    was_submitted: bool,
    state: str,
    detail: str,
    tmp_path: Path,
) -> None:
    for name, value in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_json(tmp_path / name, value)
    found = read_run_state(tmp_path, live, was_submitted, NOW)
    assert (found.state, found.detail) == (state, detail)
    if "heartbeat.json" in files:
        assert found.step == 3


def test_the_numbers_of_a_state_are_those_of_its_heartbeat(tmp_path: Path) -> None:
    heartbeat = {"time": NOW - 5, "step": 30, "num_steps": 40, "loss": 0.5}
    write_json(
        tmp_path / "heartbeat.json",
        {**heartbeat, "samples_per_second": 8.0, "seconds_per_step": 2.0},
    )
    for restart in range(3):
        begin(tmp_path, restart)
    found = read_run_state(tmp_path, RUNNING, True, NOW)
    assert (found.step, found.num_steps, found.loss) == (30, 40, 0.5)
    assert (found.heartbeat_age_s, found.remaining_s, found.num_restarts) == (5, 20, 2)
    assert read_run_state(tmp_path, WAITING, True, NOW).remaining_s is None
    (tmp_path / "heartbeat.json").write_text('{"step"')
    assert read_run_state(tmp_path, RUNNING, True, NOW).step is None


@pytest.mark.parametrize(
    ("files", "otherwise"),
    [(ended("cluster_fault"), "lost"), (ended("preempted"), "stopped"), ({}, "lost")],
)
def test_what_slurm_says_nothing_of_is_not_called_lost(
    files: Files, otherwise: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may wait in the queue, and whoever watches the runs goes on watching."""
    run_dir = tmp_path / "runs" / "run0"
    for name, value in {**files, "config.yaml": {}}.items():
        (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
        write_json(run_dir / name, value)
    SweepDirectory(tmp_path).write_plan({"run0": {}})
    write_record(tmp_path, JobRecord("orbit-x-1", "train", "slurm", ("run0",), 1.0, "7"))

    def silence(*words: str) -> str:
        raise slurm.SlurmError("squeue did not answer within 60 s")

    monkeypatch.setattr(slurm, "ask", silence)
    found = read_status(tmp_path)
    assert found.states["run0"].state == "unknown"
    assert not is_over(found)
    monkeypatch.setattr(slurm, "ask", lambda *words: "")
    assert read_status(tmp_path).states["run0"].state == otherwise
