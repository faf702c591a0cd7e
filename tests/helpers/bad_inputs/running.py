"""Running cases in forked children: exit code, what was printed, left behind and used."""

import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from helpers.bad_inputs.case import Case
from helpers.warm_parent import redirect, run_program

TIMEOUT_S = 300.0
MAX_PEAK_BYTES = 2 * 2**30
ADDRESS_SPACE_BYTES = 6 * 2**30
"""A child may not map more than this beyond what it starts with: a net for the machine."""
POLL_S = 0.01
PASSED = ("refused", "read", "said")


@dataclass(frozen=True)
class Trial:
    """What came of a case; `outcome` is one of `PASSED`, else the fault in words."""

    case: Case
    outcome: str
    ending: "Ending"
    seconds: float

    @property
    def is_passed(self) -> bool:
        return self.outcome in PASSED


class Ended(RuntimeError):
    """A program that makes material failed."""


class Ending(NamedTuple):
    """A child's exit code (negative for a signal), what it printed, and its resident memory."""

    code: int
    out: str
    err: str
    start_bytes: int
    peak_bytes: int


def run_child(program: str, words: list[str], scratch: Path) -> Ending:
    """Run a program in a child, which is killed if it does not end."""
    out, err, start = scratch / "out.txt", scratch / "err.txt", scratch / "start.txt"
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.setpgid(0, 0)
            start.write_text(str(_pages(1)))
            redirect(str(out), str(err))
            limit = _pages(0) + ADDRESS_SPACE_BYTES
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            code = run_program(program, words)
        finally:
            os._exit(code)
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            break
        if time.monotonic() > deadline:
            _end(pid)
            _, status, usage = os.wait4(pid, 0)
            break
        time.sleep(POLL_S)
    code = os.waitstatus_to_exitcode(status)
    texts = (path.read_text(errors="replace") if path.exists() else "" for path in (out, err))
    return Ending(code, *texts, int(start.read_text()), usage.ru_maxrss * 1024)


def make_material(
    makers: dict[str, Callable[[Path, Callable[..., None]], None]], names: set[str], scratch: Path
) -> None:
    """Make the good files that cases spoil: each in the folder in which cases run.

    Records of runs hold paths, so all cases run in one place, to which material is copied.
    """

    def run(program: str, *words: str) -> None:
        done = run_child(program, list(words), scratch)
        if done.code:
            raise Ended(f"{program} {' '.join(words)} ended with {done.code}: {done.err}")

    work = scratch / "work"
    for name in sorted(names):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        makers[name](work, run)
        shutil.move(work, scratch / "material" / name)


def run_case(case: Case, scratch: Path) -> Trial:
    """Copy the material, spoil it, run the program, judge, and delete all of it."""
    work = scratch / "work"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(scratch / "material" / case.material, work, symlinks=True)
    try:
        case.spoil(work)
    except Exception as error:
        raise Ended(f"{case.title}: the good file could not be changed: {error!r}") from error
    before = _listing(work)
    started = time.monotonic()
    done = run_child(case.program, case.words_in(work), scratch)
    seconds = time.monotonic() - started
    outcome = _judge(case, done, _left_behind(before, work), seconds)
    shutil.rmtree(work, ignore_errors=True)
    return Trial(case, outcome, done, seconds)


def run_cases(
    cases: Sequence[Case], scratch: Path, on_trial: Callable[[Trial], None]
) -> list[Trial]:
    """All cases in order."""
    trials = []
    for case in cases:
        trials.append(run_case(case, scratch))
        on_trial(trials[-1])
    return trials


def _judge(case: Case, ending: Ending, left: list[str], seconds: float) -> str:
    code, out, err, _, peak = ending
    if code < 0:
        return "hang" if seconds >= TIMEOUT_S else f"killed by {signal.Signals(-code).name}"
    if "Traceback (most recent call last)" in err + out:
        return "traceback"
    if peak > MAX_PEAK_BYTES:
        return f"{peak / 2**30:.1f} GiB of memory"
    if case.wanted == "said":
        is_named = any(name in out + err for name in case.names)
        return (
            ("said" if is_named else "passed over in silence") if code in (0, 1) else f"exit {code}"
        )
    if code == 0:
        return "accepted" if case.wanted == "refused" else "read"
    if case.wanted == "read":
        return "refused although good"
    if code != 1:
        return f"exit {code}"
    lines = err.strip().splitlines()
    if len(lines) != 1:
        return f"{len(lines)} lines"
    if not any(name in lines[0] for name in case.names):
        return "file not named"
    return f"left {left[0]}" if left else "refused"


def _listing(work: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for place, folders, files in os.walk(work):
        for name in (*folders, *files):
            path = Path(place, name)
            status = path.lstat()
            is_folder = path.is_dir() and not path.is_symlink()
            found[str(path.relative_to(work))] = (
                (0, 0) if is_folder else (status.st_size, status.st_mtime_ns)
            )
    return found


def _left_behind(before: dict[str, tuple[int, int]], work: Path) -> list[str]:
    """Paths that are new, other or gone."""
    after = _listing(work)
    return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))


def _end(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(pid, signal.SIGKILL)


def _pages(column: int) -> int:
    """Bytes of this process: 0 all that is mapped, 1 what is resident."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[column]) * os.sysconf("SC_PAGE_SIZE")
