"""Asking a warm process for programs, and running them cold."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.injection.library import NONE, Call, Fault, as_plain, environment
from helpers.injection.node_loss import lose_node, read_disk
from helpers.injection.subjects import Step
from helpers.programs import REPOSITORY

TIMEOUT_S = 600.0
START_S = 1200.0
CODE = ("README.md", "pipeline/__init__.py", "configs/train.yaml")
"""What sweeps take for the code that they copy."""


@dataclass
class Outcome:
    """What processes of a program came to, by rank; `calls` are read from `logs` where needed."""

    codes: list[int]
    errors: list[str]
    logs: list[Path]
    seconds: float
    outputs: list[str]
    calls: list[tuple[Call, int]] = field(default_factory=list)


class WarmProcess:
    """Starts a warm process; a context manager. `connect` gives a line of jobs to it."""

    def __init__(self, scratch: Path, library: Path) -> None:
        self.library = library
        # Names of sockets are short: 108 bytes at most.
        self._place = scratch / "warm"
        code = scratch / "code"
        for file in CODE:
            (code / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / file, code / file)
        paths = os.pathsep.join([str(REPOSITORY / "tests"), str(REPOSITORY)])
        one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "helpers.injection.warm",
                str(self._place),
                str(library),
                str(code),
            ],
            env={**os.environ, **one, "PYTHONPATH": paths, "LD_PRELOAD": str(library)},
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )

    def connect(self) -> "Line":
        """A connection, once everything is imported; RuntimeError if that fails."""
        deadline = time.monotonic() + START_S
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self._place))
                return Line(connection)
            except OSError:
                connection.close()
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the warm process did not start")
            time.sleep(0.1)

    def __enter__(self) -> "WarmProcess":
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Line:
    """Runs programs in children of the warm process, one job at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rw")

    def close(self) -> None:
        self._file.close()

    def run(
        self,
        step: Step,
        work: Path,
        scratch: Path,
        call: Call | None = None,
        fault: Fault = NONE,
        planted: str | None = None,
    ) -> Outcome:
        """Run a step in `work` with a fault at a call; logs and outputs go to `scratch`."""
        shutil.rmtree(scratch, ignore_errors=True)
        journal = scratch / "journal"
        journal.mkdir(parents=True)
        before = read_disk(work) if fault.lost else None
        processes: list[dict[str, Any]] = []
        for rank in range(step.num_ranks):
            is_target = call is not None and call.rank == rank
            log = scratch / f"{rank}.log"
            target = (call, fault) if is_target else (None, NONE)
            arming = as_plain(work, log, *target, journal if fault.lost else None)
            processes.append(
                {
                    "program": step.program,
                    "words": step.words_in(work),
                    "environment": _rank_variables(rank, step.num_ranks, scratch),
                    "arming": arming,
                    "planted": planted,
                    "out": str(scratch / f"{rank}.out"),
                    "err": str(scratch / f"{rank}.err"),
                }
            )
        job = {"processes": processes, "timeout_s": TIMEOUT_S, "is_node": bool(fault.lost)}
        self._file.write(json.dumps(job) + "\n")
        self._file.flush()
        answer = json.loads(self._file.readline())
        outcome = _outcome(answer["codes"], scratch, answer["seconds"])
        if before is not None and min(outcome.codes) == -9:
            lose_node(work, before, outcome.logs, journal, fault.lost == "data")
        return outcome


def run_cold(
    library: Path, step: Step, work: Path, scratch: Path, call: Call, fault: Fault
) -> Outcome:
    """Run a step of one rank in a process of its own, armed from its start."""
    shutil.rmtree(scratch, ignore_errors=True)
    journal = scratch / "journal"
    journal.mkdir(parents=True)
    before = read_disk(work) if fault.lost else None
    plain = as_plain(work, scratch / "0.log", call, fault, journal if fault.lost else None)
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environment(library, plain)}
    started = time.monotonic()
    with open(scratch / "0.out", "w") as out, open(scratch / "0.err", "w") as err:
        done = subprocess.run(
            [sys.executable, str(REPOSITORY / step.program), *step.words_in(work)],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            timeout=2 * TIMEOUT_S,
        )
    outcome = _outcome([done.returncode], scratch, time.monotonic() - started)
    if before is not None and done.returncode == -9:
        lose_node(work, before, outcome.logs, journal, fault.lost == "data")
    return outcome


def _outcome(codes: list[int], scratch: Path, seconds: float) -> Outcome:
    ranks = range(len(codes))
    errors = [(scratch / f"{rank}.err").read_text(errors="replace") for rank in ranks]
    outputs = [(scratch / f"{rank}.out").read_text(errors="replace") for rank in ranks]
    logs = [scratch / f"{rank}.log" for rank in ranks]
    return Outcome(codes, errors, logs, seconds, outputs)


def _rank_variables(rank: int, num_ranks: int, scratch: Path) -> dict[str, str]:
    if num_ranks == 1:
        return {}
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(num_ranks),
        "MASTER_ADDR": "127.0.0.1",
        "ORBIT_RENDEZVOUS": str(scratch / "rendezvous.json"),
        "ORBIT_JOIN_TIMEOUT_S": "30",
    }
