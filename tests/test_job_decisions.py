"""Protects what follows the end of an attempt: a restart, a failure with its cause, or neither.

Small shell programs play the training processes, stand-ins the commands of SLURM.
"""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.cluster import slurm
from launch.cluster.settings import RetryConfig
from launch.jobs import aftermath, attempt, history, restarting
from launch.jobs.attempt import run_attempt
from launch.jobs.deciding import (
    ERROR_FILE,
    Decision,
    after_fault,
    after_stop,
    vanished_too_often,
)
from launch.jobs.endings import SEVERITY, STOP_SIGNALS, Ending, classify, decisive, reason_of_stop
from launch.jobs.history import Attempt, refusal
from launch.jobs.liveness import LiveJob
from launch.jobs.order import Order, write_order
from launch.jobs.places import Place, local_places, slurm_job, slurm_place
from launch.jobs.pruning import mark_pruned
from launch.jobs.rank_process import NUM_KEPT_LINES, RankProcess, StopNote
from launch.jobs.records import JobRecord, write_record
from launch.reports.run_state import CANCELLED_FILE, FRESH_S, read_run_state
from pipeline.files.atomic import write_json
from pipeline.files.processes import describe_process

BASH = shutil.which("bash") or "/bin/bash"
ORDER = Order("mine", "/code", None, 1, None, 5.0, 60.0, None, "/data")
FAULTS = (None, "cluster_fault")


def place(restart: int = 0, rank: int = 0, world_size: int = 1, job: str = "7") -> Place:
    return Place(rank, world_size, rank, f"node{rank}", "node0", job, restart)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run directory with its order."""
    folder = tmp_path / "runs" / "the-run"
    folder.mkdir(parents=True)
    write_order(folder, ORDER)
    return folder


def begin(run_dir: Path, restart: int = 0, submission: str = "mine", job: str = "7") -> Path:
    where = place(restart, job=job)
    return history.begin(run_dir, where, submission, 1000.0 + restart, "")


def content(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


# How a process ended

EXPECTED = {0: "finished", 75: "stopped", 76: "non_finite", 77: "collapsed", 78: "cluster_fault"}
SIGNALS = sorted({*map(int, signal.Signals), *range(32, 66)})
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)


@pytest.mark.parametrize("told", [False, True])
def test_every_exit_code_has_a_kind(told: bool) -> None:
    for code in range(256):
        kind, message = classify(code, ["some\n", "train.py: the cause\n", "\n"], told)
        assert kind == EXPECTED.get(code, "mistake")
        assert message == ("" if code == 0 else "the cause")
        kind, message = classify(code, [], told)
        assert kind == EXPECTED.get(code, "mistake")
        if kind == "mistake":
            assert message == f"exit code {code}"


@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_has_a_kind(number: int) -> None:
    """A killed process may be a lost node; a broken one is a bug, unless its peer went away."""
    kind, message = classify(-number, ["words\n"], False)
    assert kind == ("crash" if number in CRASHES else "cluster_fault")
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    assert f"by {name}" in message
    told, _ = classify(-number, [], True)
    assert told == ("stopped" if number in (*STOP_SIGNALS, signal.SIGKILL) else kind)
    lost, _ = classify(-number, ["RuntimeError: Connection closed by peer\n", "abort\n"], False)
    assert lost == "cluster_fault"


def test_a_traceback_is_a_bug_and_one_line_is_a_mistake() -> None:
    lines = ["Traceback (most recent call last):\n", "  File ...\n", "KeyError: 'x'\n"]
    assert classify(1, lines, False) == ("crash", "KeyError: 'x'")
    assert classify(1, ["train.py: no dataset at x\n"], False) == ("mistake", "no dataset at x")


ENDINGS = st.builds(
    Ending, st.sampled_from(SEVERITY), st.sampled_from(["", "words"]), st.integers(0, 9),
    st.just("host"), st.integers(0, 9),
)  # fmt: skip


@given(endings=st.lists(ENDINGS, min_size=1, max_size=6), data=st.data())
def test_the_most_severe_ending_explains_the_others(
    endings: list[Ending], data: st.DataObject
) -> None:
    """Whoever reads the ranks' accounts, in whatever order, finds the same cause."""
    chosen = decisive(endings)
    assert SEVERITY.index(chosen.kind) == max(SEVERITY.index(end.kind) for end in endings)
    peers = [end for end in endings if end.kind == chosen.kind]
    assert bool(chosen.message) == any(end.message for end in peers)
    equals = [end for end in peers if bool(end.message) == bool(chosen.message)]
    assert chosen.rank == min(end.rank for end in equals)
    shuffled = decisive(data.draw(st.permutations(endings)))
    assert (shuffled.kind, shuffled.rank) == (chosen.kind, chosen.rank)


def test_a_bug_on_one_rank_explains_lost_connections_on_the_others() -> None:
    lost = [Ending("cluster_fault", "connection lost", rank, "a", 78) for rank in range(4)]
    for kind in ("mistake", "collapsed", "non_finite", "crash"):
        bug = Ending(kind, "the cause", 9, "b", 1)
        assert decisive([*lost, bug]) == bug


@given(
    elapsed=st.floats(-1e9, 1e9),
    later=st.floats(0, 1e9),
    limit=st.none() | st.floats(60, 1e6),
    before=st.floats(1, 600),
)
def test_a_stop_is_a_time_out_from_some_moment_on(
    elapsed: float, later: float, limit: float | None, before: float
) -> None:
    """Wherever the clock has jumped to; without a limit there is no time-out."""
    reasons = [reason_of_stop(moment, limit, before) for moment in (elapsed, elapsed + later)]
    assert set(reasons) <= {"preempted", "timeout"}
    assert reasons != ["timeout", "preempted"]
    if limit is None or elapsed < 0 <= limit - before - 65:
        assert reasons[0] == "preempted"
    if limit is not None and elapsed >= limit - before:
        assert reasons[0] == "timeout"


def test_slurm_may_warn_a_minute_early() -> None:
    assert reason_of_stop(3600 - 120 - 60, 3600, 120) == "timeout"
    assert reason_of_stop(3600 - 120 - 90, 3600, 120) == "preempted"


# How often a run goes on

STORIES = st.lists(
    st.tuples(st.sampled_from([None, "cluster_fault", "preempted", "timeout"]), st.integers(0, 1)),
    min_size=1,
    max_size=12,
)


def told(story: list[tuple[str | None, int]]) -> tuple[list[Attempt], int, int]:
    """Earlier attempts, first step of the last one, and the newest step, of (reason, progress)."""
    attempts, step = [], 0
    for number, (reason, progress) in enumerate(story):
        attempts.append(Attempt(f"7-{number}", "mine", float(number), step, reason))
        step += progress
    return attempts[:-1], attempts[-1].first_step, step


@given(story=STORIES, limit=st.integers(0, 4), reason=st.sampled_from(FAULTS))
def test_faults_count_in_a_row_without_a_new_checkpoint(
    story: list[tuple[str | None, int]], limit: int, reason: str | None
) -> None:
    """Vanished attempts are faults; a checkpoint or another kind of end resets the count."""
    story = [*story[:-1], (reason, story[-1][1])]
    num_faults = 0
    for ended, progress in reversed(story):
        if ended not in FAULTS or progress:
            break
        num_faults += 1
    earlier, first_step, step = told(story)
    why_not = refusal(earlier, reason, first_step, step, RetryConfig(0, 0, limit))
    assert (why_not is not None) == (num_faults > limit)
    if why_not is not None:
        assert f"retry.max_faults={limit}" in why_not
    assert refusal(earlier, reason, first_step, step + 1, RetryConfig(0, 0, 0)) is None


@given(story=STORIES, limit=st.integers(0, 4), reason=st.sampled_from(["preempted", "timeout"]))
def test_preemptions_and_time_outs_have_budgets_of_their_own(
    story: list[tuple[str | None, int]], limit: int, reason: str
) -> None:
    story = [*story[:-1], (reason, story[-1][1])]
    earlier, first_step, step = told(story)
    is_used_up = sum(ended == reason for ended, _ in story) > limit
    key = {"preempted": "max_preemptions", "timeout": "max_timeouts"}[reason]
    retry = replace(RetryConfig(0, 0, 0), **{key: limit})
    why_not = refusal(earlier, reason, first_step, step, retry)
    assert (why_not is not None) == is_used_up
    if why_not is not None:
        assert f"retry.{key}={limit}" in why_not


def test_attempts_of_another_submission_do_not_count(run_dir: Path) -> None:
    """Whoever submits again has looked at it, and gets the full number of retries."""
    order = replace(ORDER, retry=RetryConfig(max_faults=1))
    for restart in range(4):
        folder = begin(run_dir, restart, "earlier", job="3")
        history.end(folder, "cluster_fault", 1.0)
    decisions = []
    for restart in range(2):
        folder = begin(run_dir, restart)
        history.note_ending(folder, Ending("cluster_fault", "killed", 0, "a", -9))
        decisions.append(after_fault(run_dir, order, folder, settle_s=0))
    first, second = decisions
    assert first == Decision("cluster_fault", True)
    assert second is not None
    assert (second.reason, second.goes_on) == ("gave_up", False)
    assert "gave up after 1 faults" in (second.failure or "")
    assert "last: killed" in (second.failure or "")


def test_attempts_that_vanished_are_faults(run_dir: Path) -> None:
    order = replace(ORDER, retry=RetryConfig(max_faults=2))
    said = [vanished_too_often(run_dir, order, begin(run_dir, restart)) for restart in range(4)]
    assert said[:3] == [None, None, None]
    assert "gave up after 2 faults" in (said[3] or "")
    (run_dir / "checkpoints" / "step_00000005").mkdir(parents=True)
    assert vanished_too_often(run_dir, order, begin(run_dir, 4)) is None


def test_a_stop_that_was_noted_is_no_fault(run_dir: Path) -> None:
    """All ranks may be killed while they save: signal.json has the reason by then."""
    order = replace(ORDER, retry=RetryConfig(max_faults=0))
    folder = begin(run_dir)
    assert vanished_too_often(run_dir, order, begin(run_dir, 1)) is not None
    history.note_signal(folder, "preempted", 1.0, "SIGTERM")
    assert vanished_too_often(run_dir, order, begin(run_dir, 1)) is None
    ending = Ending("stopped", "saved step 3", 0, "a", 75)
    history.end(folder, "timeout", 2.0)
    assert history.read_attempts(run_dir)[0].reason == "timeout"
    budget = replace(order, retry=RetryConfig(max_timeouts=1))
    folder = begin(run_dir, 2)
    assert after_stop(run_dir, budget, folder, "timeout", ending).reason == "gave_up"
    assert content(run_dir / ERROR_FILE)["kind"] == "gave_up"


def test_ranks_that_end_together_decide_once(run_dir: Path) -> None:
    num_ranks = 8
    together = threading.Barrier(num_ranks)

    def end_of(rank: int, folder: Path) -> Decision | None:
        history.note_ending(folder, Ending("cluster_fault", "lost", rank, "a", 78))
        together.wait(timeout=30)
        return after_fault(run_dir, ORDER, folder, settle_s=0)

    with ThreadPoolExecutor(num_ranks) as pool:
        for restart in range(5):
            folder = begin(run_dir, restart, submission=str(restart))
            decisions = list(pool.map(functools.partial(end_of, folder=folder), range(num_ranks)))
            assert [one for one in decisions if one is not None] == [
                Decision("cluster_fault", True)
            ]
            assert content(folder / "end.json")["reason"] == "cluster_fault"


def test_processes_that_end_together_decide_once(run_dir: Path) -> None:
    folder = begin(run_dir)
    history.note_ending(folder, Ending("mistake", "no dataset", 3, "node3", 1))
    code = (
        "import sys; from pathlib import Path; from launch.jobs.deciding import after_fault;"
        "from launch.jobs.order import read_order; run = Path(sys.argv[1]); sys.stdin.read();"
        "print(after_fault(run, read_order(run), Path(sys.argv[2]), 0))"
    )
    words = [sys.executable, "-c", code, str(run_dir), str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    ranks = [subprocess.Popen(words, **pipes) for _ in range(3)]  # type: ignore[call-overload]
    for rank in ranks:
        rank.stdin.close()
    said = sorted(rank.stdout.read().strip() for rank in ranks)
    assert [rank.wait(timeout=60) for rank in ranks] == [0, 0, 0]
    expected = "Decision(reason='mistake', goes_on=False, failure='no dataset')"
    assert said == sorted([expected, "None", "None"])


def test_the_error_names_kind_message_rank_and_host(run_dir: Path) -> None:
    folder = begin(run_dir)
    history.note_ending(folder, Ending("cluster_fault", "connection lost", 0, "node0", 78))
    history.note_ending(folder, Ending("non_finite", "loss in step 3", 5, "node5", 76))
    decision = after_fault(run_dir, ORDER, folder, settle_s=0)
    assert decision == Decision("non_finite", False, "loss in step 3")
    error = content(run_dir / ERROR_FILE)
    assert error.pop("time") == pytest.approx(time.time(), abs=600)
    assert error == {
        "kind": "non_finite",
        "message": "loss in step 3",
        "rank": 5,
        "host": "node5",
        "exit_code": 76,
        "attempt": "7-0",
    }


# Stand-ins for SLURM


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose `state` scontrol tells, and where `requeues` lists what it was asked for.

    A file `refusals` there holds how many requests it turns down first.
    """
    folder = tmp_path / "slurm"
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "scontrol"
    program.write_text(
        f"""#!{BASH}
cd {folder}
case $* in
    *'show job'*) [[ -e state ]] && echo "JobId=7 JobState=$(cat state) Reason=None" ;;
    'show hostnames node[3-5]') printf 'node3\\nnode4\\nnode5\\n' ;;
    requeue*)
        echo "$2" >>requeues
        (( $(wc -l <requeues) > $(cat refusals 2>/dev/null || echo 0) )) ||
            {{ echo 'slurm error: try again' >&2; exit 1; }} ;;
    *) exit 1 ;;
esac
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    (folder / "state").write_text("RUNNING")
    return folder


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was slept; nobody does."""
    slept: list[float] = []
    monkeypatch.setattr(aftermath.time, "sleep", slept.append)
    return slept


def requeues(scontrol: Path) -> list[str]:
    file = scontrol / "requeues"
    return file.read_text().split() if file.exists() else []


def test_a_restart_is_asked_for_once(scontrol: Path, sleeps: list[float]) -> None:
    with pytest.raises(SystemExit) as ended:
        restarting.request_restart("7_3", "preempted")
    assert ended.value.code == 1
    assert requeues(scontrol) == ["7_3"]
    assert sleeps == [restarting.WAIT_FOR_END_S]


def test_a_request_that_slurm_turns_down_is_repeated(scontrol: Path, sleeps: list[float]) -> None:
    (scontrol / "refusals").write_text("2")
    with pytest.raises(SystemExit):
        restarting.request_restart("7", "preempted")
    assert requeues(scontrol) == ["7"] * 3
    (scontrol / "refusals").write_text("1000")
    with pytest.raises(SystemExit) as ended:
        restarting.request_restart("7", "preempted")
    assert ended.value.code == 1
    assert len(requeues(scontrol)) == 3 + 5


@pytest.mark.parametrize("state", ["COMPLETING", "CANCELLED", "PENDING", "FAILED", "TIMEOUT", None])
def test_only_a_running_job_is_requeued(
    state: str | None, scontrol: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A requeue would bring a cancelled job back, and give a requeued one a second start."""
    if state is None:
        (scontrol / "state").unlink()
    else:
        (scontrol / "state").write_text(state)
    restarting.request_restart("7", "preempted")
    assert requeues(scontrol) == []
    assert f"the job is {state or 'unknown'}" in capfd.readouterr().out


def test_a_run_that_was_cancelled_is_not_requeued(scontrol: Path, tmp_path: Path) -> None:
    (tmp_path / CANCELLED_FILE).touch()
    restarting.request_restart("7", "preempted", tmp_path / CANCELLED_FILE)
    assert requeues(scontrol) == []


# The batch script after its job step


class Batch:
    """The aftermath of task 1 of an array, job 7, whose run is `run_dir`."""

    def __init__(self, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        base = run_dir.parents[1]
        record = JobRecord("orbit-x-1", "train", "slurm", ("other", run_dir.name), 1.0)
        self.record = write_record(base, record)
        self.run_dir, self._monkeypatch = run_dir, monkeypatch
        for name, value in {
            "SLURM_JOB_ID": "8",
            "SLURM_ARRAY_JOB_ID": "7",
            "SLURM_ARRAY_TASK_ID": "1",
            "SLURM_NTASKS": "4",
            "SLURMD_NODENAME": "node3",
        }.items():
            monkeypatch.setenv(name, value)

    def after(self, restart: int = 0, exit_code: str = "137") -> None:
        self._monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))
        with suppress(SystemExit):  # how it waits for its end after it asked for a restart
            aftermath.main(str(self.record), exit_code)

    def folder(self, restart: int = 0) -> Path:
        return self.run_dir / "attempts" / f"7_1-{restart}"

    def begin(self, restart: int = 0) -> Path:
        where = place(restart, world_size=4, job="7_1")
        return history.begin(self.run_dir, where, "mine", 1000.0 + restart, "")


@pytest.fixture
def batch(
    run_dir: Path, scontrol: Path, sleeps: list[float], monkeypatch: pytest.MonkeyPatch
) -> Batch:
    return Batch(run_dir, monkeypatch)


def test_the_batch_script_decides_when_all_ranks_were_killed(batch: Batch, scontrol: Path) -> None:
    for restart, has_begun in ((0, True), (1, False)):
        if has_begun:
            batch.begin(restart)
        batch.after(restart)
        assert content(batch.folder(restart) / "end.json")["reason"] == "cluster_fault"
        (ending,) = history.endings(batch.folder(restart))
        assert (ending.host, ending.exit_code) == ("node3", 137)
        assert requeues(scontrol) == ["7_1"] * (restart + 1)
    assert [one.reason for one in history.read_attempts(batch.run_dir)] == ["cluster_fault"] * 2


def test_a_rank_that_died_over_its_decision_does_not_block_it(batch: Batch, scontrol: Path) -> None:
    folder = batch.begin()
    history.note_ending(folder, Ending("cluster_fault", "connection lost", 2, "node5", 78))
    (folder / "decided").touch()
    batch.after()
    assert content(folder / "end.json")["message"] == "connection lost"
    assert requeues(scontrol) == ["7_1"]


def test_a_cause_that_a_rank_noted_is_believed(batch: Batch, scontrol: Path) -> None:
    folder = batch.begin()
    history.note_ending(folder, Ending("crash", "KeyError: 'x'", 2, "node5", 1))
    batch.after(exit_code="1")
    assert content(batch.run_dir / ERROR_FILE)["message"] == "KeyError: 'x'"
    assert requeues(scontrol) == []


@pytest.mark.parametrize(
    ("reason", "goes_on"),
    [
        ("preempted", True),
        ("timeout", True),
        ("cluster_fault", True),
        ("mistake", False),
        ("gave_up", False),
        ("finished", False),
        ("pruned", False),
    ],
)
def test_a_decision_that_was_made_stays(
    reason: str, goes_on: bool, batch: Batch, scontrol: Path, sleeps: list[float]
) -> None:
    """But a restart that was decided and never asked for is asked for now."""
    folder = batch.begin()
    history.end(folder, reason, 5.0, "words")
    before = (folder / "end.json").read_bytes()
    batch.after()
    assert (folder / "end.json").read_bytes() == before
    assert history.endings(folder) == []
    assert requeues(scontrol) == (["7_1"] if goes_on else [])


@pytest.mark.parametrize("state", ["CANCELLED", "COMPLETING", "PENDING"])
def test_what_slurm_ends_is_left_alone(state: str, batch: Batch, scontrol: Path) -> None:
    (scontrol / "state").write_text(state)
    folder = batch.begin()
    batch.after()
    assert not (folder / "end.json").exists()
    assert requeues(scontrol) == []


def test_a_cancelled_run_is_never_requeued(batch: Batch, scontrol: Path) -> None:
    """SLURM may still call the job RUNNING."""
    batch.begin()
    (batch.run_dir / CANCELLED_FILE).touch()
    batch.after()
    assert requeues(scontrol) == []


def test_faults_in_a_row_are_given_more_and_more_time(batch: Batch, sleeps: list[float]) -> None:
    """SLURM needs minutes to notice a lost node, and would start the job there again."""
    write_order(batch.run_dir, replace(ORDER, retry=RetryConfig(max_faults=9)))
    waits = []
    for restart in range(6):
        sleeps.clear()
        batch.begin(restart)
        batch.after(restart)
        waits.append(max(wait for wait in sleeps if wait != restarting.WAIT_FOR_END_S))
    assert waits == [2, 10, 50, 250, 300, 300]
    history.end(batch.begin(6), "preempted", 1.0)
    sleeps.clear()
    batch.after(7)
    assert 2 in sleeps
    assert 10 not in sleeps


def test_the_batch_script_gives_up_in_the_end(batch: Batch, scontrol: Path) -> None:
    for restart in range(4):
        batch.begin(restart)
        batch.after(restart)
    assert len(requeues(scontrol)) == ORDER.retry.max_faults
    assert content(batch.run_dir / ERROR_FILE)["kind"] == "gave_up"


@pytest.mark.parametrize(
    ("exit_code", "restart", "is_requeued"),
    [("137", 0, True), ("137", 4, True), ("137", 5, False), ("1", 0, False)],
)
def test_other_jobs_start_again_after_a_kill_for_a_while(
    exit_code: str, restart: int, is_requeued: bool, batch: Batch, scontrol: Path
) -> None:
    record = JobRecord("orbit-e-1", "evaluate", "slurm", ("a", "b"), 1.0)
    batch.record = write_record(batch.run_dir.parents[1], record)
    batch.after(restart, exit_code)
    assert requeues(scontrol) == (["7_1"] if is_requeued else [])


# Names and environments


def test_a_task_of_an_array_names_itself_by_its_index() -> None:
    """The id of an array's last task is that of the whole array."""
    environment = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}
    assert slurm_job(environment) == "7_0"
    assert slurm_job({"SLURM_JOB_ID": "7"}) == "7"


def test_a_place_is_what_slurm_says(scontrol: Path) -> None:
    environment = {
        "SLURM_JOB_ID": "9",
        "SLURM_ARRAY_JOB_ID": "7",
        "SLURM_ARRAY_TASK_ID": "2",
        "SLURM_RESTART_COUNT": "3",
        "SLURM_PROCID": "5",
        "SLURM_LOCALID": "1",
        "SLURM_NTASKS": "6",
        "SLURMD_NODENAME": "node5",
        "SLURM_JOB_NODELIST": "node[3-5]",
    }
    found = slurm_place(environment)
    assert found == Place(5, 6, 1, "node5", "node3", "7_2", 3)
    assert found.attempt == "7_2-3"


JOBS_OWN = (
    "SLURM_CPU_BIND",
    "SLURM_JOB_ID",
    "SLURM_NTASKS",
    "SLURMD_NODENAME",
    "SBATCH_PARTITION",
    "SRUN_CPUS_PER_TASK",
    "SALLOC_ACCOUNT",
    "SUBMITIT_EXECUTOR",
    "PMI_RANK",
    "PMIX_RANK",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
    "CUDA_VISIBLE_DEVICES",
    "ORBIT_RENDEZVOUS",
)
OUR_OWN = (
    "SLURM_CONF",
    "SLURM_CLUSTERS",
    "PATH",
    "HOME",
    "RANKING",
    "MY_SLURM_NOTE",
    "OMP_NUM_THREADS",
)


@given(names=st.sets(st.sampled_from((*JOBS_OWN, *OUR_OWN))))
def test_a_new_job_inherits_nothing_of_the_job_one_is_in(names: set[str]) -> None:
    """A binding to processors or a rank of its own would break it; SLURM_CONF says which SLURM."""
    environment = dict.fromkeys(names, "1")
    assert set(slurm.clean_environment(environment)) == names & set(OUR_OWN)


# The state of a run

NOW = 10_000.0
BEGUN = {"submission": "s", "started": 1.0, "first_step": 0}
OLD, FRESH = {"time": NOW - FRESH_S - 1, "step": 3}, {"time": NOW - FRESH_S + 1, "step": 3}
OURS = {**FRESH, **describe_process(os.getpid())}
DEAD = {**OURS, "process_start": "1"}
RUNNING = LiveJob("running", "running", "7", "r")
WAITING = LiveJob("waiting", "Priority", "7", "r")
FAILURE = {"kind": "crash", "message": "KeyError"}
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


# Processes


def start(tmp_path: Path, script: str, log: Path | None = None) -> RankProcess:
    where = tmp_path / "rendezvous.json"
    return RankProcess([BASH, "-c", script], place(rank=2), tmp_path / "code", where, 60.0, log)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "not within a minute"
        time.sleep(0.01)


def test_a_rank_keeps_its_last_lines_and_passes_them_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    num = 10 * NUM_KEPT_LINES
    lines = f"for i in $(seq {num}); do echo line $i >&2; done; printf '\\xff' >&2; exit 3"
    rank = start(tmp_path, lines)
    wait_for(lambda: rank.poll() is not None)
    ending = rank.ending(False)
    assert (ending.kind, ending.exit_code, ending.rank, ending.host) == ("mistake", 3, 2, "node2")
    assert capfd.readouterr().err.startswith("line 1\nline 2\n")
    rank = start(tmp_path, "echo first >&2; echo train.py: the cause >&2; echo >&2; exit 1")
    wait_for(lambda: rank.poll() is not None)
    assert rank.ending(False).message == "the cause"


def test_a_rank_knows_its_place_and_runs_the_submitted_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/other")
    log = tmp_path / "log"
    names = (
        "RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR ORBIT_RENDEZVOUS ORBIT_JOIN_TIMEOUT_S PYTHONPATH"
    )
    rank = start(tmp_path, f"for name in {names}; do echo ${{!name}}; done", log)
    wait_for(lambda: rank.poll() is not None)
    assert rank.ending(False).kind == "finished"
    expected = ["2", "1", "2", "node0", str(tmp_path / "rendezvous.json"), "60.0"]
    assert log.read_text().split() == [*expected, f"{tmp_path / 'code'}:/other"]


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_rank_passes_signals_on(number: signal.Signals, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"trap 'exit 75' {number.name[3:]}; touch {ready}; while :; do sleep 0.02; done"
    rank = start(tmp_path, script)
    wait_for(ready.exists)
    rank.send(number)
    wait_for(lambda: rank.poll() is not None)
    rank.send(number)  # Nobody is there any more.
    assert rank.ending(True).kind == "stopped"


@pytest.fixture
def keeps_signals() -> Iterator[None]:
    """Puts the handlers of the test process back."""
    before = {number: signal.getsignal(number) for number in (*STOP_SIGNALS, signal.SIGCONT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_note_remembers_the_first_stop_signal(keeps_signals: None) -> None:
    note = StopNote()
    note.install()
    assert note.signal is None
    for number in (signal.SIGCONT, signal.SIGUSR2, signal.SIGTERM):
        os.kill(os.getpid(), number)
    wait_for(lambda: note.signal is not None)
    assert note.signal == signal.SIGUSR2
    assert note.time == pytest.approx(time.time(), abs=60)


# Whole attempts

Program = Callable[..., None]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    """Sets the shell script that plays the trainer; $RANK and the run directory $1 are at hand."""
    monkeypatch.setattr(attempt, "POLL_S", 0.02)
    monkeypatch.setattr(attempt, "after_fault", functools.partial(after_fault, settle_s=0))
    monkeypatch.delenv("SLURM_JOB_START_TIME", raising=False)

    def set_script(script: str) -> None:
        monkeypatch.setattr(
            attempt, "_command", lambda run_dir, *_: [BASH, "-c", script, "trainer", str(run_dir)]
        )

    return set_script


def reasons(run_dir: Path) -> list[str | None]:
    return [found.reason for found in history.read_attempts(run_dir)]


WAIT_FOR_TERM = "touch $1/ready$RANK; while :; do sleep 0.02; done"


def stop_when_ready(run_dir: Path, stop: StopNote, num_ranks: int = 1) -> threading.Thread:
    """Note a TERM as soon as all ranks are up."""

    def note() -> None:
        wait_for(lambda: len(list(run_dir.glob("ready*"))) == num_ranks)
        stop.time, stop.signal = time.time(), signal.SIGTERM

    thread = threading.Thread(target=note)
    thread.start()
    return thread


def test_an_attempt_that_finishes(run_dir: Path, program: Program) -> None:
    program("exit 0")
    write_json(run_dir / ERROR_FILE, FAILURE)
    decision = run_attempt(run_dir, ORDER, local_places(2, "here", 0), StopNote())
    assert decision == Decision("finished", False)
    assert reasons(run_dir) == ["finished"]
    assert not (run_dir / ERROR_FILE).exists()


@pytest.mark.parametrize(("limit_s", "reason"), [(None, "preempted"), (60.0, "timeout")])
def test_an_attempt_that_is_told_to_stop_goes_on_later(
    limit_s: float | None, reason: str, run_dir: Path, program: Program
) -> None:
    program(f"trap 'echo saved step 5 >&2; exit 75' TERM; {WAIT_FOR_TERM}")
    stop = StopNote()
    thread = stop_when_ready(run_dir, stop, 2)
    order = replace(ORDER, time_limit_s=limit_s)
    decision = run_attempt(run_dir, order, local_places(2, "here", 0), stop)
    thread.join()
    assert decision == Decision(reason, True)
    assert reasons(run_dir) == [reason]
    assert content(run_dir / "attempts/here-0/end.json")["message"] == "saved step 5"
    assert content(run_dir / "attempts/here-0/signal.json")["signal"] == "SIGTERM"
    assert not (run_dir / ERROR_FILE).exists()


def test_a_rank_that_does_not_save_in_time_is_killed(run_dir: Path, program: Program) -> None:
    """Its own scheduler would kill the watcher as well, who has to write down what happened."""
    rank = start(run_dir, f"trap '' TERM; RANK=0; set -- {run_dir}; {WAIT_FOR_TERM}")
    wait_for((run_dir / "ready0").exists)
    stop = StopNote(signal.SIGTERM)
    (ending,) = attempt._watch([rank], stop, lambda: None, 0.2, lambda: False)
    assert (ending.kind, ending.exit_code) == ("stopped", -signal.SIGKILL)


def test_an_attempt_whose_process_is_killed_goes_on(run_dir: Path, program: Program) -> None:
    program("kill -KILL $$")
    decision = run_attempt(run_dir, ORDER, local_places(1, "here", 0), StopNote())
    assert decision == Decision("cluster_fault", True)
    assert reasons(run_dir) == ["cluster_fault"]
    (ending,) = history.endings(run_dir / "attempts/here-0")
    assert ending.message == "killed by SIGKILL"


def test_an_attempt_that_fails_by_a_mistake_does_not_go_on(run_dir: Path, program: Program) -> None:
    program("echo 'train.py: no dataset at /x' >&2; exit 1")
    decision = run_attempt(run_dir, ORDER, local_places(1, "here", 0), StopNote())
    assert decision == Decision("mistake", False, "no dataset at /x")
    error = content(run_dir / ERROR_FILE)
    assert (error["kind"], error["message"], error["rank"]) == ("mistake", "no dataset at /x", 0)
    assert error["host"] == os.uname().nodename
    assert reasons(run_dir) == ["mistake"]


def test_the_bug_of_one_rank_is_what_is_reported(
    run_dir: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its peers one loses its connection and one would wait for ever."""
    monkeypatch.setattr(attempt, "PEER_PATIENCE_S", 0.3)
    traceback = "echo 'Traceback (most recent call last):' >&2; echo 'KeyError: 1' >&2; exit 1"
    program(
        f"case $RANK in 0) exec sleep 300;; 1) {traceback};;"
        " 2) echo connection lost >&2; exit 78;; esac"
    )
    decision = run_attempt(run_dir, ORDER, local_places(3, "here", 0), StopNote())
    assert decision == Decision("crash", False, "KeyError: 1")
    assert content(run_dir / ERROR_FILE)["rank"] == 1
    kinds = [ending.kind for ending in history.endings(run_dir / "attempts/here-0")]
    assert kinds == ["cluster_fault", "crash", "cluster_fault"]


def test_code_that_cannot_be_used_is_a_mistake(
    run_dir: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = replace(ORDER, code=str(run_dir / "gone"), digest="0" * 64)
    decision = run_attempt(run_dir, order, local_places(1, "here", 0), StopNote())
    assert decision is not None
    assert decision.reason == "mistake"
    assert "no copy of the submitted code" in content(run_dir / ERROR_FILE)["message"]


def test_a_run_that_was_given_up_does_not_start(run_dir: Path, program: Program) -> None:
    program("touch $1/started")
    mark_pruned(run_dir, "behind")
    decision = run_attempt(run_dir, ORDER, local_places(1, "here", 0), StopNote())
    assert decision == Decision("pruned", False)
    assert not (run_dir / "started").exists()
    assert reasons(run_dir) == []


def test_a_run_that_is_given_up_meanwhile_is_told_to_stop(
    run_dir: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "PRUNED_POLL_S", 0.02)
    program(f"trap 'exit 75' TERM; {WAIT_FOR_TERM}")

    def give_up() -> None:
        wait_for((run_dir / "ready0").exists)
        mark_pruned(run_dir, "behind")

    thread = threading.Thread(target=give_up)
    thread.start()
    decision = run_attempt(run_dir, ORDER, local_places(1, "here", 0), StopNote())
    thread.join()
    assert decision == Decision("pruned", False)
    assert reasons(run_dir) == ["pruned"]


def test_a_run_whose_attempts_vanish_gives_up_before_it_starts(
    run_dir: Path, program: Program
) -> None:
    program("touch $1/started")
    order = replace(ORDER, retry=RetryConfig(max_faults=1))
    for restart in range(2):
        begin(run_dir, restart)
    decision = run_attempt(run_dir, order, [place(2)], StopNote())
    assert decision is not None
    assert decision.reason == "gave_up"
    assert not (run_dir / "started").exists()
    assert content(run_dir / ERROR_FILE)["kind"] == "gave_up"


@settings(max_examples=30)
@given(damage=st.sampled_from(["", "{", "[]", "null", '{"reason": 3', "\x00"]))
def test_a_damaged_note_of_an_attempt_is_as_good_as_none(
    damage: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = tmp_path_factory.mktemp("run")
    folder = begin(run)
    (folder / "end.json").write_text(damage)
    begin(run, 1)
    (run / "attempts" / "7-1" / "begin.json").write_text(damage)
    (found,) = history.read_attempts(run)
    assert (found.name, found.reason) == ("7-0", None)
    assert read_run_state(run, None).state == "lost"
