"""Running the entry programs, in this process or in one of their own."""

import contextlib
import io
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from helpers.waiting import PATIENCE_S

REPOSITORY = Path(__file__).resolve().parents[2]
ENTRY_FOLDERS = ("pipeline", "data_prep", "launch")


class Outcome(NamedTuple):
    """Exit code and output of a program."""

    code: int
    out: str
    err: str

    @property
    def error_line(self) -> str:
        """The one line on standard error of a user's mistake; fails the test otherwise."""
        assert self.code == 1, f"exit code {self.code}: {self.err}"
        lines = self.err.splitlines()
        assert len(lines) == 1, f"not one line: {self.err}"
        return lines[0]


def entry_programs() -> list[Path]:
    """Every file that is run by path."""
    files = [file for folder in ENTRY_FOLDERS for file in (REPOSITORY / folder).glob("*.py")]
    return sorted(file for file in files if "run_program(" in file.read_text())


def call(program: str, *words: str) -> Outcome:
    """Run a program's `__main__` in this process; a traceback is raised in the test."""
    out, err = io.StringIO(), io.StringIO()
    arguments = sys.argv
    sys.argv = [str(REPOSITORY / program), *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0
    finally:
        sys.argv = arguments
    return Outcome(code, out.getvalue(), err.getvalue())


def run(program: str, *words: str, cwd: Path = REPOSITORY, timeout: float = PATIENCE_S) -> Outcome:
    """Run a program in a process of its own, by path, as a user does."""
    command = [sys.executable, str(REPOSITORY / program), *words]
    environment = {key: value for key, value in os.environ.items() if key != "RANK"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def start_python(code: str, *words: str, before: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start Python code that may import these helpers; `before` are words of a wrapper."""
    path = os.pathsep.join([str(REPOSITORY / "tests"), str(REPOSITORY)])
    return subprocess.Popen(
        [*before, sys.executable, "-c", code, *words],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
