"""Printing never ends a program, whatever has become of its streams; ranks speak for themselves."""

import errno
import io
import os
import subprocess
import sys

import pytest
from helpers.programs import REPOSITORY
from helpers.waiting import PATIENCE_S

from orbit.core.printing import SteadyStream, rank_of_environment, say


def start(code: str, stdout: int | None = None, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
    )


RUN = """
from orbit.core.config.program import run_program
from orbit.core.printing import say
def main(words):
    for number in range(3000):
        {line}
run_program(main, "doc")
"""


@pytest.mark.parametrize("line", ["say('x' * 100)", "print('x' * 100)"])
def test_a_reader_that_is_gone_does_not_end_a_program(line: str) -> None:
    read, write = os.pipe()
    process = start(RUN.format(line=line), stdout=write)
    os.close(write)
    os.read(read, 10)
    os.close(read)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (0, b"")


def test_a_full_disk_is_said_once_and_does_not_end_a_program() -> None:
    with open("/dev/full", "wb") as full:
        process = start(RUN.format(line="say('x' * 100)"), stdout=full.fileno())
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert err.decode().count("No space left") == 1


def test_a_terminal_that_knows_ascii_alone_gets_escapes() -> None:
    process = start(RUN.format(line="say('é')"), subprocess.PIPE, PYTHONIOENCODING="ascii")
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert out.split()[0] == b"\\xe9"


def test_a_closed_stream_or_none_at_all_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        monkeypatch.setattr(sys, "stdout", stream)
        say("anything")


def test_letters_that_cannot_be_shown_leave_the_others() -> None:
    raw = io.BytesIO()
    text = io.TextIOWrapper(raw, "latin-1", write_through=True)
    SteadyStream(text).write("aé日\udce9z\n")
    assert raw.getvalue() == b"a\xe9\\u65e5\\udce9z\n"


class Failing(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.EIO, "Input/output error")


def test_a_stream_that_fails_in_another_way_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", Failing())
    say("anything")
    assert "Input/output error" in capsys.readouterr().err


def test_a_rank_left_in_the_environment_means_nothing_without_a_world() -> None:
    for left in ({"RANK": "1"}, {"RANK": ""}, {"RANK": "x"}, {"RANK": "3", "WORLD_SIZE": "1"}):
        assert rank_of_environment(left) == 0
    assert rank_of_environment({"RANK": "1", "WORLD_SIZE": "2"}) == 1


@pytest.mark.parametrize("rank", ["", "2", "-1", "1_0", "x"])
def test_a_rank_outside_its_world_is_named(rank: str) -> None:
    with pytest.raises(ValueError, match=f"RANK={rank} .*WORLD_SIZE=2"):
        rank_of_environment({"RANK": rank, "WORLD_SIZE": "2"})


def test_every_rank_says_its_own_failure() -> None:
    code = RUN.format(line="raise ValueError('bad')")
    for rank in ("0", "1"):
        process = start(code, RANK=rank, WORLD_SIZE="2")
        _, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 1
        assert err.decode().strip().endswith(f"rank {rank}: bad")
    process = start(code, RANK="1")
    assert process.communicate(timeout=PATIENCE_S)[1].decode().strip() == "-c: bad"
