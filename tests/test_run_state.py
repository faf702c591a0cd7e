"""The state of a run follows from its files and its job."""

import os
from pathlib import Path
from typing import Any

import pytest
from helpers.attempts import FAILURE, begin
from helpers.programs import REPOSITORY, call

from launch.cluster import slurm
from launch.cluster.slurm import JobFacts
from launch.cluster.submission import JobRecord, write_record
from launch.jobs.history import Ending, note_ending, who_stopped
from launch.jobs.liveness import LiveJob
from launch.jobs.run_state import CANCELLED_FILE, FRESH_S, read_run_state
from launch.reports.status_table import ORDER, help_for, read_status
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


def ended(reason: str | None, job: str = "7", **more: Any) -> Files:
    """An attempt that ended so."""
    files: Files = {f"attempts/{job}-0/begin.json": BEGUN}
    end = {"reason": reason, **more}
    return files if reason is None else {**files, f"attempts/{job}-0/end.json": end}


def signalled(reason: str, name: str = "SIGTERM") -> Files:
    told = {"reason": reason, "signal": name}
    return {"attempts/7-0/begin.json": BEGUN, "attempts/7-0/signal.json": told}


def said(kind: str, **more: Any) -> Files:
    """The trainer's own last words."""
    return {"ended.json": {"kind": kind, "message": "why", "time": 2.0, "step": 3, **more}}


def gave_up(after: str) -> Files:
    return {"error.json": {"kind": "gave_up", "message": "gave up", "after": after}}


def at(files: Files, time: float) -> Files:
    return {name: {**content, "time": time} for name, content in files.items()}


RESULT: Files = {"result.json": {"best_step": 4}}
EVALUATED: Files = {
    **RESULT,
    "evaluations/step_00000004-test.json": {},
    "evaluations/step_00000004-val-0123abcd.json": {},
    "evaluations/step_00000002-val.json": {},
}
ERROR: Files = {"error.json": FAILURE}
COLLAPSED: Files = {"error.json": {"kind": "collapsed", "message": "m", "rank": 1, "host": "n2"}}
CANCELLED: Files = {CANCELLED_FILE: {}}
PRUNED: Files = {"pruned.json": {"reason": "behind"}}
BEATS, BEAT_BEFORE = {"heartbeat.json": FRESH}, {"heartbeat.json": {"time": 0.5, "step": 3}}
SEEN = {"heartbeat.json": OURS}
STAYS = "does not return by itself"
EARLY: Files = {"result.json": {**RESULT["result.json"], "ended_early": "no better"}}
SILENT = f"ended without a word: killed, out of memory, or its machine went down; {STAYS}"
HELD = LiveJob("waiting", "JobHeldUser", "7", "r")
ENDING = LiveJob("running", "completing", "7", "r")


@pytest.mark.parametrize(
    ("files", "live", "ended_as", "was_submitted", "state", "detail"),
    [
        # a result beats everything
        (RESULT, None, None, True, "finished", "not evaluated"),
        (EVALUATED, None, None, True, "evaluated", "on test"),
        (
            {**RESULT, **EARLY},
            None,
            None,
            True,
            "finished",
            "not evaluated; ended early, by patience",
        ),
        ({**RESULT, **ERROR, **CANCELLED, **PRUNED}, RUNNING, None, True, "finished", ""),
        # then the job: it waits, with the scheduler's own reason
        ({}, WAITING, None, True, "waiting", "Priority: others come first"),
        ({}, HELD, None, True, "waiting", "JobHeldUser: held by its user"),
        (ERROR, WAITING, None, True, "waiting", "Priority"),
        ({**ERROR, **CANCELLED}, WAITING, None, True, "waiting", "Priority"),
        (ended("timeout"), WAITING, None, True, "waiting", "timed out, returns by itself; Prio"),
        (ended("preempted"), WAITING, None, True, "waiting", "preempted, returns by itself; "),
        # it starts, until a heartbeat of this start is there
        ({}, RUNNING, None, True, "starting", ""),
        (ended(None), RUNNING, None, True, "starting", ""),
        ({**BEAT_BEFORE, **ended(None)}, RUNNING, None, True, "starting", ""),
        (ended("timeout"), RUNNING, None, True, "starting", "again, was timed out"),
        # it runs
        ({**BEATS, **ended(None)}, RUNNING, None, True, "running", ""),
        ({"heartbeat.json": OLD, **ended(None)}, RUNNING, None, True, "running", ""),
        ({**BEATS, **ended(None)}, ENDING, None, True, "running", "its job: ends now"),
        ({**BEATS, **signalled("preempted")}, RUNNING, None, True, "running", "told to stop by S"),
        ({**BEATS, **CANCELLED}, RUNNING, None, True, "running", "cancelled: ends now"),
        (ERROR, RUNNING, None, True, "failed", "crash: KeyError"),
        # it was continued by hand, as this machine can see, after all that was written down
        ({**SEEN, **at(ERROR, 5.0)}, None, None, True, "running", "seen by its heartbeat"),
        ({**SEEN, **at(CANCELLED, 5.0)}, None, None, True, "running", "seen by its heartbeat"),
        ({**SEEN, **ended("timeout", time=5.0)}, None, None, True, "running", "seen by its"),
        ({**SEEN, **ended("preempted", time=5.0)}, None, "CANCELLED", True, "running", "seen by"),
        ({**SEEN, **at(ERROR, NOW)}, None, None, True, "failed", "crash: KeyError"),
        ({**SEEN, **ended("timeout", time=NOW)}, None, None, True, "timed_out", "its time limit"),
        ({**SEEN, **CANCELLED}, None, None, True, "cancelled", "by launch/cancel.py"),
        ({**SEEN, **PRUNED}, None, None, True, "pruned", "behind"),
        ({"heartbeat.json": DEAD, **at(ERROR, 5.0)}, None, None, True, "failed", "crash: KeyErr"),
        # then what was written down
        (PRUNED, None, None, True, "pruned", "behind"),
        ({**PRUNED, **ERROR}, None, None, True, "pruned", "behind"),
        (ERROR, None, None, True, "failed", "crash: KeyError"),
        ({**ERROR, **CANCELLED, **BEATS}, None, "CANCELLED", True, "failed", "crash: KeyError"),
        (COLLAPSED, None, None, True, "collapsed", "collapsed: m (rank 1 on n2)"),
        (gave_up("timeout"), None, None, True, "timed_out", "gave up"),
        (gave_up("preempted"), None, None, True, "preempted", "gave up"),
        (gave_up("cluster_fault"), None, None, True, "failed", "gave up"),
        (CANCELLED, None, None, True, "cancelled", f"by launch/cancel.py; {STAYS}"),
        ({**CANCELLED, **BEATS}, None, "CANCELLED", True, "cancelled", "by launch/cancel.py"),
        # then what the scheduler remembers of a job that is over
        (ended("preempted"), None, "CANCELLED", True, "cancelled", f"by scancel; {STAYS}"),
        (ended("preempted"), None, "PREEMPTED", True, "preempted", "the scheduler took its nod"),
        (ended(None), None, "TIMEOUT", True, "timed_out", f"its time limit is over; {STAYS}"),
        (ended(None), None, "NODE_FAIL", True, "lost", f"its node failed; {STAYS}"),
        (ended(None), None, "OUT_OF_MEMORY", True, "lost", "it used more memory than its job"),
        (ended("cluster_fault"), None, "FAILED", True, "lost", "interrupted by a fault"),
        # then the trainer's own last words, if no attempt is newer or was noted to the end
        (said("stopped", signal="SIGINT"), None, None, False, "stopped", "by Ctrl-C, saved step 3"),
        (
            {**BEATS, **said("stopped", signal="SIGTERM")},
            None,
            None,
            False,
            "stopped",
            "by SIGTERM",
        ),
        (said("crash", lines=["a", "b"]), None, None, False, "failed", "crash: why"),
        (said("collapsed"), None, None, False, "collapsed", "collapsed: why"),
        (said("cluster_fault"), None, None, False, "lost", f"why; {STAYS}"),
        ({**said("mistake"), **ended(None)}, None, None, True, "failed", "mistake: why"),
        ({**said("mistake", time=0.5), **ended(None)}, None, None, True, "lost", SILENT),
        # then signs of life
        (BEATS, None, None, False, "running", "seen by its heartbeat"),
        ({**BEATS, **ended(None)}, None, None, True, "running", "seen by its heartbeat"),
        ({"heartbeat.json": OURS}, None, None, True, "running", "seen by its heartbeat"),
        ({"heartbeat.json": DEAD}, None, None, True, "lost", SILENT),
        # then the last attempt
        ({**BEATS, **ended("timeout")}, None, None, True, "timed_out", "its time limit was over"),
        ({**BEATS, **signalled("preempted")}, None, None, True, "stopped", "by SIGTERM"),
        (ended("preempted"), None, None, True, "stopped", "by a signal, and its job is gone; "),
        (ended("preempted", by="preemption"), None, None, True, "preempted", "its nodes were tak"),
        (ended("cancelled", by="scancel"), None, None, True, "cancelled", f"by scancel; {STAYS}"),
        (ended("timeout"), None, None, False, "timed_out", "its time limit was over"),
        (ended("cluster_fault"), None, None, True, "lost", "interrupted by a fault of the cluste"),
        (ended(None), None, None, False, "lost", SILENT),
        ({"heartbeat.json": OLD, **ended(None)}, None, None, True, "lost", SILENT),
        # then whether anybody ever asked for it
        ({}, None, None, True, "lost", "its job is gone and never began"),
        ({}, None, "FAILED", True, "lost", "its job failed before training began"),
        ({}, None, None, False, "planned", ""),
    ],
)
def test_the_state_of_a_run_follows_from_its_files_and_its_job(
    files: Files,
    live: LiveJob | None,
    ended_as: str | None,
    was_submitted: bool,
    state: str,
    detail: str,
    tmp_path: Path,
) -> None:
    """Each way in which a run can stand, decided from evidence, and said by its first words."""
    for name, value in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_json(tmp_path / name, value)
    found = read_run_state(tmp_path, live, was_submitted, NOW, ended_as)
    assert (found.state, found.detail[: len(detail)]) == (state, detail)
    if "heartbeat.json" in files:
        assert found.step == 3
    assert help_for(found, tmp_path, tmp_path.parent) != ""
    assert found.state in ORDER
    assert f"`{found.state}`" in (REPOSITORY / "docs" / "explanation" / "status.md").read_text()


def test_who_had_a_job_stopped_is_told_by_what_slurm_says_of_it() -> None:
    """While it saves: a job that ends, and is not to start again, was cancelled by somebody."""
    assert who_stopped(JobFacts("COMPLETING", 1), 1) == "scancel"
    assert who_stopped(JobFacts("CANCELLED"), 0) == "scancel"
    assert who_stopped(JobFacts("COMPLETING", 2), 1) is None
    assert who_stopped(JobFacts("COMPLETING"), 0) is None
    assert who_stopped(JobFacts("RUNNING", 0, True), 0) == "preemption"
    assert who_stopped(JobFacts("COMPLETING", 0, True), 0) == "preemption"
    assert who_stopped(JobFacts("RUNNING", 0), 0) is None
    assert who_stopped(None, 0) is None


def test_a_single_run_has_a_status_with_the_last_lines_of_its_error(tmp_path: Path) -> None:
    """And the command that helps ends its line."""
    run_dir = tmp_path / "mine"
    run_dir.mkdir()
    write_json(run_dir / "config.yaml", {})
    words = {"kind": "crash", "message": "KeyError: 'x'", "lines": ["File a.py", "  bad()"]}
    write_json(run_dir / "ended.json", {**words, "time": 2.0, "rank": 0, "host": "here"})
    outcome = call("launch/status.py", str(run_dir))
    assert outcome.code == 3
    lines = outcome.out.splitlines()
    assert lines[1].startswith("mine  failed")
    assert "crash: KeyError: 'x' (rank 0 on here)  -> " in lines[1]
    assert lines[1].endswith(f"logs.py {run_dir}")
    assert lines[2:4] == ["    File a.py", "      bad()"]
    assert "1 run: 1 failed" in lines


def test_the_output_is_that_of_the_newest_attempt_and_the_rank_that_failed_first(
    tmp_path: Path,
) -> None:
    """Its bug makes the others lose their connection, a moment later or sooner."""
    write_json(tmp_path / "config.yaml", {})
    for restart in range(2):
        folder = begin(tmp_path, restart)
        for rank in range(3):
            (folder / f"rank_{rank:05d}.log").write_text(
                f"start {restart} rank {rank}\nstep\rlast\n"
            )
    kinds = (("cluster_fault", 5.0), ("crash", 9.0), ("crash", 7.0))
    for rank, (kind, moment) in enumerate(kinds):
        note_ending(folder, Ending(kind, f"of {rank}", rank, "n", 1, (), moment))
    shown = call("launch/logs.py", str(tmp_path)).out.splitlines()
    assert shown[0].startswith("attempt 7-1 (2 of 2), rank 2: ")
    assert shown[1:] == ["start 1 rank 2", "last", "crash: of 2"]
    words = ("attempt=first", "rank=1", "lines=1")
    assert call("launch/logs.py", str(tmp_path), *words).out.splitlines()[1:] == ["last"]
    for word, line in {
        "attempt=7": "attempt=7 is none of this run; there: 7-0, 7-1",
        "rank=9": "rank_00009.log is not there; logs of this attempt: rank_00000.log, rank_0",
        "rank=-1": "rank=-1 is no whole number from 0 on",
    }.items():
        assert line in call("launch/logs.py", str(tmp_path), word).error_line
    assert "no run at" in call("launch/logs.py", str(tmp_path / "none")).error_line


def test_the_numbers_of_a_state_are_those_of_its_heartbeat(tmp_path: Path) -> None:
    heartbeat = {"time": NOW - 5, "step": 30, "num_steps": 40, "loss": 0.5}
    write_json(
        tmp_path / "heartbeat.json",
        {**heartbeat, "samples_per_second": 8.0, "seconds_per_step": 2.0},
    )
    for restart in range(3):
        begin(tmp_path, restart)
    found = read_run_state(tmp_path, RUNNING, True, NOW)
    assert found.state == "running"
    assert (found.step, found.num_steps, found.loss) == (30, 40, 0.5)
    assert (found.heartbeat_age_s, found.remaining_s, found.num_restarts) == (5, 20, 2)
    assert read_run_state(tmp_path, WAITING, True, NOW).remaining_s is None
    (tmp_path / "heartbeat.json").write_text('{"step"')
    assert read_run_state(tmp_path, RUNNING, True, NOW).step is None


@pytest.mark.parametrize(
    ("files", "otherwise"),
    [(ended("cluster_fault"), "lost"), (ended("timeout"), "timed_out"), ({}, "lost")],
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
