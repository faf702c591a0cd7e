"""launch/status.py watch=true: on a terminal, without one, and what it is made of.

Protects that watching ends when nothing runs any more, with the exit code of status.py, that
a terminal gets one table in place with losses as bars, and anything else plain lines.
"""

import fcntl
import itertools
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from helpers.attempts import FAILURE
from helpers.programs import REPOSITORY, call, run
from helpers.reporting import finish, write_log, write_run
from helpers.waiting import PATIENCE_S
from hypothesis import given
from hypothesis import strategies as st

from launch.jobs.run_state import RunState
from launch.reports.status_table import Status
from launch.reports.watching import (
    ASCII_BARS,
    BARS,
    GAP,
    MAX_VALUES,
    LossFollower,
    bars_of,
    caption,
    longest_left,
    make_table,
    sparkline,
)
from orbit.core.files.atomic import write_json

PROGRAM = "launch/status.py"


# Its parts


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80), st.integers(1, 30))
def test_bars_are_as_many_as_fit_and_in_order(values: list[float], width: int) -> None:
    bars = sparkline(values, width)
    assert len(bars) == min(len(values), width)
    assert set(bars) <= set(BARS)
    ordered = sparkline(sorted(values), width)
    assert list(ordered) == sorted(ordered)


def test_bars_of_what_is_flat_falling_or_not_finite() -> None:
    assert sparkline([], 5) == ""
    assert (bars_of("utf-8"), bars_of("ascii"), bars_of("latin-1")) == (BARS, *[ASCII_BARS] * 2)
    assert sparkline([0.0, float("nan"), 1.0], 3, ASCII_BARS) == "_ #"
    assert sparkline([2.0, 2.0], 5) == BARS[0] * 2
    assert sparkline([float("nan")] * 3, 5) == GAP * 3
    assert sparkline([1.0, float("inf"), 0.0], 5) == f"{BARS[-1]}{GAP}{BARS[0]}"
    # A loss that falls by powers of ten falls evenly.
    assert sparkline([1000.0, 100.0, 10.0, 1.0], 4) == "█▆▃▁"


def line(step: int, loss: object, split: str = "train") -> str:
    return json.dumps({"step": step, "epoch": 0, "split": split, "loss/total": loss}) + "\n"


def test_losses_are_followed_as_they_are_logged(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    follower = LossFollower(log)
    assert follower.read() == []
    log.write_text(line(1, 0.5) + line(1, 9.0, "val") + line(2, 2.5e-05)[:-5])
    assert follower.read() == [0.5]
    log.write_text(line(1, 0.5) + line(1, 9.0, "val") + line(2, 2.5e-05) + line(3, "inf"))
    assert follower.read() == [0.5, 2.5e-05, float("inf")]
    # A run that starts over cuts its log.
    log.write_text(line(1, 0.25))
    assert follower.read() == [0.25]


@pytest.mark.parametrize("num", [MAX_VALUES, 5 * MAX_VALUES + 3])
def test_long_logs_are_thinned_evenly(num: int, tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text("".join(line(step, float(step)) for step in range(num)))
    values = LossFollower(log).read()
    assert MAX_VALUES / 2 <= len(values) <= MAX_VALUES
    steps = {later - value for value, later in itertools.pairwise(values)}
    assert len(steps) == 1
    assert values[0] == 0


def test_what_does_not_fit_is_counted() -> None:
    states = {f"run{number}": RunState("finished") for number in range(30)}
    states["bad"] = RunState("failed", "crash: KeyError")
    states["slow"] = RunState("running", remaining_s=7200.0)
    states["fast"] = RunState("running", remaining_s=60.0)
    status = Status(states, "SLURM is away")
    table = make_table(status, {"slow": [2.0, 1.0]}, 4)
    assert [str(cell) for cell in table.columns[0]._cells] == ["bad", "slow", "fast", "run0"]
    assert str(table.columns[6]._cells[1]) == "█▁"
    assert longest_left(states) == 7200
    text = caption(status, 29)
    for said in ("1 failed, 2 running, 30 finished", "2:00 h", "29 runs not", "SLURM is away"):
        assert said in text
    assert longest_left({"done": RunState("finished", remaining_s=3.0)}) is None


# The program


def test_without_a_terminal_it_prints_and_ends(tmp_path: Path) -> None:
    finish(write_run(tmp_path / "a"), 200, 0.1, 20.0)
    outcome = call(PROGRAM, str(tmp_path), "watch=true")
    assert outcome.code == 0
    assert "1 run: 1 evaluated" in outcome.out
    assert "\x1b" not in outcome.out
    write_json(write_run(tmp_path / "b") / "error.json", FAILURE)
    outcome = call(PROGRAM, str(tmp_path), "watch=true", "every=0.01")
    assert outcome.code == 3
    assert "crash: KeyError" in outcome.out


def beat(path: Path, step: int) -> None:
    """A heartbeat of another machine, which counts as long as it is fresh."""
    numbers = {"step": step, "num_steps": 400, "loss": 0.5, "samples_per_second": 100.0}
    where = {"time": time.time(), "host": "elsewhere", "seconds_per_step": 2.0}
    write_json(path / "heartbeat.json", {**where, **numbers})


def test_it_goes_on_while_something_runs(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a")
    beat(path, 100)
    command = [sys.executable, str(REPOSITORY / PROGRAM), str(tmp_path), "watch=true", "every=0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout is not None
        while "1 running" not in process.stdout.readline():
            assert process.poll() is None
        finish(path, 400, 0.1, 20.0)
        rest = process.stdout.read()
        assert process.wait(PATIENCE_S) == 0
    assert "1 evaluated" in rest


def test_a_terminal_gets_a_table_with_losses_as_bars(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a_run")
    write_log(path, 30)
    beat(path, 300)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 140, 0, 0))
    command = [sys.executable, str(REPOSITORY / PROGRAM), str(tmp_path), "watch=true", "every=0.1"]
    environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment
    ) as process:
        os.close(slave)
        seen = b""
        deadline = time.monotonic() + PATIENCE_S
        is_told = False
        while time.monotonic() < deadline:
            if select.select([master], [], [], 0.1)[0]:
                try:
                    seen += os.read(master, 65536)
                except OSError:  # the other side is closed
                    break
            elif process.poll() is not None:
                break
            if not is_told and "█".encode() in seen:
                is_told = True
                finish(path, 400, 0.1, 20.0)
        assert process.wait(PATIENCE_S) == 0
    os.close(master)
    text = seen.decode()
    assert is_told
    assert "\x1b[" in text
    assert re.search(r"a_run.*running.*300/400.*100.*0\.5.*█.*▁.*3 min", text)
    assert "what runs is done in 3 min" in text
    # What is left at the end has the command that helps.
    assert re.search(r"a_run +evaluated.*-> .*collect\.py ", text)
    assert "1 run: 1 evaluated" in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("watch=true", "json=true"), "json=true has no effect with watch=true"),
        (("every=3",), "every has no effect without watch=true"),
        (("watch=true", "every=0"), "every=0 must be a positive number of seconds"),
        (("watch=true", "every=soon"), "every=soon must be a positive number of seconds"),
        (("watch=maybe",), "watch=maybe is not allowed; allowed: true, false"),
        (("watch=true",), "no runs at"),
    ],
)
def test_mistakes_are_one_line(words: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    assert expected in call(PROGRAM, str(tmp_path), *words).error_line


def test_ctrl_c_ends_it_with_the_state_of_the_runs(tmp_path: Path) -> None:
    outcome = run("launch/status.py", "--help")
    assert "watch=true" in outcome.out
    beat(write_run(tmp_path / "a"), 100)
    command = [sys.executable, str(REPOSITORY / PROGRAM), str(tmp_path), "watch=true", "every=30"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "1 running" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(2)
        assert process.wait(PATIENCE_S) == 0
