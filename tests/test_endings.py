"""How a rank's end is read, and how often a run may go on after it."""

import errno
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.attempts import FAULTS, ORDER, begin, content
from helpers.waiting import PATIENCE_S
from hypothesis import given
from hypothesis import strategies as st

from launch.cluster.settings import RetryConfig
from launch.cluster.submission import read_records
from launch.jobs import history
from launch.jobs.deciding import (
    ERROR_FILE,
    Decision,
    after_fault,
    after_stop,
    vanished_too_often,
)
from launch.jobs.history import (
    SEVERITY,
    Attempt,
    Ending,
    classify,
    decisive,
    reason_of_stop,
    refusal,
)
from launch.jobs.run_state import read_run_state
from orbit.core.files.atomic import write_json
from orbit.core.signals import STOP_SIGNALS

# How a process ended

EXPECTED = {0: "finished", 75: "stopped", 76: "non_finite", 77: "collapsed", 78: "cluster_fault"}
BY_SIGNAL = {128 + number for number in STOP_SIGNALS}
SIGNALS = sorted({*map(int, signal.Signals), *range(32, 66)})
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)


@pytest.mark.parametrize("told", [False, True])
def test_every_exit_code_has_a_kind(told: bool) -> None:
    for code in set(range(256)) - BY_SIGNAL:
        kind, message = classify(code, ["some\n", "train.py: the cause\n", "\n"], told)
        assert kind == EXPECTED.get(code, "mistake")
        assert message == ("" if code == 0 else "the cause")
        kind, message = classify(code, [], told)
        assert kind == EXPECTED.get(code, "mistake")
        if kind == "mistake":
            assert message == f"exit code {code}"


@pytest.mark.parametrize("code", sorted(BY_SIGNAL))
def test_a_stop_that_came_too_early_to_be_noted_is_no_mistake(code: int) -> None:
    """A program that is still importing ends as a shell says it: 128 and the signal's number."""
    for told, expected in ((True, "stopped"), (False, "cluster_fault")):
        assert classify(code, ["train.py: interrupted\n"], told)[0] == expected


def test_a_message_leaves_out_what_an_ending_says_by_itself() -> None:
    lines = ["train.py: rank 3: no dataset at x\n"]
    assert classify(1, lines, False) == ("mistake", "no dataset at x")


def test_ranks_that_end_with_the_first_do_not_hide_its_fault_of_the_cluster() -> None:
    cause = Ending("cluster_fault", "fault of the cluster: stale file handle", 0, "a", 78)
    line = "train.py: rank 1: ended because rank 0 did: stale file handle\n"
    kind, message = classify(78, [line], False)
    assert decisive([Ending(kind, message, 1, "b", 78), cause]) == cause


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
        together.wait(timeout=PATIENCE_S)
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
        "from launch.jobs.deciding import read_order; run = Path(sys.argv[1]); sys.stdin.read();"
        "print(after_fault(run, read_order(run), Path(sys.argv[2]), 0))"
    )
    words = [sys.executable, "-c", code, str(run_dir), str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    ranks = [subprocess.Popen(words, **pipes) for _ in range(3)]  # type: ignore[call-overload]
    for rank in ranks:
        rank.stdin.close()
    said = sorted(rank.stdout.read().strip() for rank in ranks)
    assert [rank.wait(timeout=PATIENCE_S) for rank in ranks] == [0, 0, 0]
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
        "lines": [],
        "after": None,
    }


def test_history_that_cannot_be_read_just_now_is_not_forgotten(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A passing read error must not reset the count of faults, nor show a finished run as new."""
    run_dir.mkdir(parents=True, exist_ok=True)
    write_json(run_dir / "error.json", {"kind": "mistake", "message": "m"})
    (run_dir / "attempts" / "a-0").mkdir(parents=True)
    write_json(run_dir / "attempts" / "a-0" / "begin.json", {})
    real = Path.read_bytes

    def away(self: Path) -> bytes:
        if self.name in ("begin.json", "error.json"):
            raise OSError(errno.EIO, "Input/output error", str(self))
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", away)
    with pytest.raises(OSError, match="Input/output error"):
        history.read_attempts(run_dir)
    with pytest.raises(OSError, match="Input/output error"):
        read_run_state(run_dir, None)


def test_a_listing_that_fails_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a rank's own fault would be a lost job step, and a job that runs unknown."""

    def away(folder: Path) -> list[str]:
        raise OSError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr(os, "listdir", away)
    for look in (history.endings, history.newest_step, read_records):
        with pytest.raises(OSError, match="Permission denied"):
            look(tmp_path)
