"""Whole attempts at a run, with small shell programs as training processes."""

import errno
import functools
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.attempts import BASH, FAILURE, ORDER, begin, content, place
from helpers.waiting import wait_until
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.cluster.settings import RetryConfig
from launch.cluster.slurm import local_places
from launch.jobs import attempt, history
from launch.jobs.attempt import (
    NUM_KEPT_LINES,
    NUM_LAST_LINES,
    RankProcess,
    StopNote,
    mark_pruned,
    run_attempt,
)
from launch.jobs.deciding import (
    ERROR_FILE,
    Decision,
    after_fault,
)
from launch.jobs.run_state import read_run_state
from launch.staging import stage_dataset
from orbit.core.files.atomic import write_json
from orbit.core.files.lock import DirectoryLock
from orbit.core.signals import STOP_SIGNALS

# Processes


def start(tmp_path: Path, script: str) -> RankProcess:
    where, log = tmp_path / "rendezvous.json", tmp_path / "log"
    return RankProcess([BASH, "-c", script], place(rank=2), tmp_path / "code", where, 60.0, log)


def test_a_rank_keeps_its_last_lines_and_passes_them_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    num = 10 * NUM_KEPT_LINES
    lines = f"for i in $(seq {num}); do echo line $i >&2; done; printf '\\xff' >&2; exit 3"
    rank = start(tmp_path, lines)
    wait_until(lambda: rank.poll() is not None)
    ending = rank.ending(False)
    assert (ending.kind, ending.exit_code, ending.rank, ending.host) == ("mistake", 3, 2, "node2")
    assert capfd.readouterr().err.startswith("line 1\nline 2\n")
    assert (tmp_path / "log").read_text().startswith("line 1\nline 2\n")
    assert ending.lines[:2] == (f"line {num - NUM_LAST_LINES + 2}", f"line {num - 5}")
    assert len(ending.lines) == NUM_LAST_LINES
    rank = start(tmp_path, "echo first >&2; echo train.py: the cause >&2; echo >&2; exit 1")
    wait_until(lambda: rank.poll() is not None)
    assert rank.ending(False).message == "the cause"


class FullDisk(io.StringIO):
    """A standard output that goes to a file of a disk without room."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_rank_goes_on_where_what_it_says_cannot_be_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a pipe holds: a rank whose words nobody takes would wait for ever."""
    monkeypatch.setattr(sys, "stdout", FullDisk())
    rank = start(tmp_path, "seq 40000")
    wait_until(lambda: rank.poll() is not None)
    assert rank.ending(False).kind == "finished"
    assert (tmp_path / "log").read_text().endswith("\n40000\n")


def test_a_rank_knows_its_place_and_runs_the_submitted_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/other")
    log = tmp_path / "log"
    names = (
        "RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR ORBIT_RENDEZVOUS ORBIT_JOIN_TIMEOUT_S PYTHONPATH"
    )
    rank = start(tmp_path, f"for name in {names}; do echo ${{!name}}; done")
    wait_until(lambda: rank.poll() is not None)
    assert rank.ending(False).kind == "finished"
    expected = ["2", "1", "2", "node0", str(tmp_path / "rendezvous.json"), "60.0"]
    assert log.read_text().split() == [*expected, f"{tmp_path / 'code'}:/other"]


@pytest.fixture
def keeps_signals() -> Iterator[None]:
    """Puts the handlers of the test process back."""
    before = {number: signal.getsignal(number) for number in (*STOP_SIGNALS, signal.SIGCONT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_rank_passes_signals_on(
    number: signal.Signals, tmp_path: Path, keeps_signals: None
) -> None:
    # A shell in the background ignores SIGINT, its children inherit that and cannot trap it.
    signal.signal(number, signal.SIG_DFL)
    ready = tmp_path / "ready"
    script = f"trap 'exit 75' {number.name[3:]}; touch {ready}; while :; do sleep 0.02; done"
    rank = start(tmp_path, script)
    wait_until(ready.exists)
    rank.send(number)
    wait_until(lambda: rank.poll() is not None)
    rank.send(number)  # Nobody is there any more.
    assert rank.ending(True).kind == "stopped"


def test_a_note_remembers_the_first_stop_signal(keeps_signals: None) -> None:
    note = StopNote()
    note.install()
    assert note.signal is None
    for number in (signal.SIGCONT, signal.SIGUSR2, signal.SIGTERM):
        os.kill(os.getpid(), number)
    wait_until(lambda: note.signal is not None)
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
        wait_until(lambda: len(list(run_dir.glob("ready*"))) == num_ranks)
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


def test_who_is_stopped_after_a_decision_does_not_change_it(
    run_dir: Path, program: Program
) -> None:
    """A lost rank has the job put back into the queue, and so this one is told to stop."""
    program(f"trap 'exit 75' TERM; {WAIT_FOR_TERM}")
    stop = StopNote()
    thread = stop_when_ready(run_dir, stop)
    folder = run_dir / "attempts/here-0"

    def decide_first() -> None:
        wait_until((run_dir / "ready0").exists)
        history.end(folder, "cluster_fault", 1.0, "rank 1 was killed")

    deciding = threading.Thread(target=decide_first)
    deciding.start()
    decision = run_attempt(run_dir, ORDER, local_places(1, "here", 0), stop)
    thread.join()
    deciding.join()
    assert decision is None
    assert reasons(run_dir) == ["cluster_fault"]


def test_a_rank_that_does_not_save_in_time_is_killed(run_dir: Path, program: Program) -> None:
    """Its own scheduler would kill the watcher as well, who has to write down what happened."""
    rank = start(run_dir, f"trap '' TERM; RANK=0; set -- {run_dir}; {WAIT_FOR_TERM}")
    wait_until((run_dir / "ready0").exists)
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


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO])
@pytest.mark.parametrize("step", ["stage_dataset", "check_snapshot"])
def test_a_passing_error_before_the_start_is_no_mistake(
    step: str, number: int, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "/data/manifest.json")

    monkeypatch.setattr(attempt, "after_fault", functools.partial(after_fault, settle_s=0))
    monkeypatch.setattr(attempt, step, fail)
    order = replace(ORDER, stage="/disk", digest="0" if step == "check_snapshot" else None)
    assert run_attempt(run_dir, order, local_places(1, "here", 0), StopNote()) == Decision(
        "cluster_fault", True
    )
    (ending,) = history.endings(run_dir / "attempts/here-0")
    assert ending.message == f"/data/manifest.json: {os.strerror(number)}"
    assert not (run_dir / ERROR_FILE).exists()


def test_a_stop_while_the_dataset_is_copied_goes_on_later(
    run_dir: Path, digits_dir: Path, tmp_path: Path, keeps_signals: None
) -> None:
    """Nobody waits for another process's copy until it is killed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    copy = stage_dataset(digits_dir, disk)
    (copy / "manifest.json").unlink()
    stop = StopNote()
    stop.install()
    order = replace(ORDER, data=str(digits_dir), stage=str(disk))
    seen: list[Decision | None] = []
    with DirectoryLock(copy, "copies of a dataset"):
        os.kill(os.getpid(), signal.SIGTERM)
        thread = threading.Thread(
            target=lambda: seen.append(
                run_attempt(run_dir, order, local_places(1, "here", 0), stop)
            ),
            daemon=True,
        )
        thread.start()
        wait_until(lambda: seen or not thread.is_alive())
    assert seen == [Decision("preempted", True)]
    assert content(run_dir / "attempts/here-0/signal.json")["signal"] == "SIGTERM"
    assert "asked to stop" in content(run_dir / "attempts/here-0/end.json")["message"]


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
    # Its peer loses the connection after it: what comes within the patience then is the bug.
    monkeypatch.setattr(attempt, "PEER_PATIENCE_S", 2.0)
    traceback = "echo 'Traceback (most recent call last):' >&2; echo 'KeyError: 1' >&2"
    until_then = "until [[ -e $1/crashed ]]; do sleep 0.02; done"
    program(
        f"case $RANK in 0) exec sleep 3000;; 1) {traceback}; touch $1/crashed; exit 1;;"
        f" 2) {until_then}; echo connection lost >&2; exit 78;; esac"
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
        wait_until((run_dir / "ready0").exists)
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
