"""The launch programs on a real SLURM, as a user calls them."""

import contextlib
import itertools
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from helpers.dev_cluster import DevCluster
from helpers.waiting import PATIENCE_S
from pipeline.run_files.reading import read_metrics

TINY = ("task.model.width=4", "compile=false", "log_every=5", "device=cpu")


class Launcher:
    """Calls `launch/*.py` with a tiny model on `data`."""

    def __init__(self, cluster: DevCluster, data: Path, python: str) -> None:
        self.cluster, self.data, self.python = cluster, data, python

    def call(self, program: str, *words: str, code: int = 0) -> str:
        """Run a program by path; its output. The exit code must be `code`."""
        done = self.cluster.run([self.python, f"launch/{program}.py", *words])
        assert done.returncode == code, f"{program}: {done.returncode} {done.stdout} {done.stderr}"
        return done.stdout + done.stderr

    def sweep(self, sweep_dir: Path, *words: str, code: int = 0) -> str:
        """Submit a sweep to `slurm_dev`."""
        return self.call(
            "sweep",
            "experiment=rotated_digits",
            f"data={self.data}",
            f"sweep_dir={sweep_dir}",
            "cluster=slurm_dev",
            *TINY,
            *words,
            code=code,
        )

    def states(self, sweep_dir: Path) -> dict[str, dict[str, Any]]:
        """What status.py says of each run."""
        done = self.cluster.run([self.python, "launch/status.py", str(sweep_dir), "json=true"])
        runs: dict[str, dict[str, Any]] = json.loads(done.stdout)["runs"]
        return runs

    def wait_for_end(
        self, sweep_dir: Path, timeout_s: float = 2 * PATIENCE_S
    ) -> dict[str, dict[str, Any]]:
        """Wait until no run waits or trains; their states."""

        polls = itertools.count()
        last_queue: list[str] = []

        def is_over() -> bool:
            # status.py costs seconds of a processor that the runs have need of.
            queue = self.cluster.queue()
            if queue and queue == last_queue and next(polls) % 20:
                return False
            last_queue[:] = queue
            states = self.states(sweep_dir).values()
            return all(state["state"] not in ("waiting", "starting", "running") for state in states)

        try:
            self.cluster.wait_until(is_over, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs(sweep_dir)}") from None
        return self.states(sweep_dir)

    def logs(self, sweep_dir: Path) -> str:
        """The ends of all job logs, for messages."""
        texts = [path.read_text()[-1500:] for path in sweep_dir.glob("logs/*/*.out")]
        return "\n".join(texts)[-6000:]


def run_dirs(sweep_dir: Path) -> list[Path]:
    """All run directories of a sweep."""
    return sorted((sweep_dir / "runs").iterdir())


def attempts(run_dir: Path) -> list[dict[str, Any]]:
    """begin.json and end.json of every attempt, oldest first."""
    found = []
    for folder in (run_dir / "attempts").glob("*"):
        if (folder / "begin.json").exists():
            begun = json.loads((folder / "begin.json").read_text())
            ended = folder / "end.json"
            reason = json.loads(ended.read_text())["reason"] if ended.exists() else None
            found.append({**begun, "reason": reason, "name": folder.name})
    return sorted(found, key=lambda attempt: attempt["started"])


def logged_step(run_dir: Path) -> int:
    """The newest step in metrics.jsonl, 0 without one."""
    lines = read_metrics(run_dir / "metrics.jsonl")
    return int(lines[-1]["step"]) if lines else 0


def rank_process(run: Path, rank: int) -> int:
    """Process id of the trainer of a rank of this run."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        is_trainer = f"run_dir={run}".encode() in words
        if is_trainer and f"RANK={rank}".encode() in environment:
            return int(folder.name)
    raise AssertionError(f"no rank {rank} of {run}")


RESTED_S = 140
"""Of the 160 seconds until the run that reaches its time limit is told to stop."""


class Limited(threading.Thread):
    """The sweep of one run that reaches its time limit of three minutes on node1.

    It saves no checkpoint of its own: what it goes on from, it saved when it was told to stop.
    Whoever asks for it early has other tests to do until then; so that these have the processor,
    every attempt rests between its first steps and its last ones, until `wake` is called.
    """

    def __init__(self, sweep_dir: Path) -> None:
        super().__init__(daemon=True)
        self.sweep_dir = sweep_dir
        (self.run_dir,) = run_dirs(sweep_dir)
        self._awake = threading.Event()

    def run(self) -> None:
        while not self._awake.wait(1.0):
            begun = attempts(self.run_dir)
            if begun and logged_step(self.run_dir) > begun[-1]["first_step"]:
                left_s = begun[-1]["started"] + RESTED_S - time.time()
                with contextlib.suppress(ProcessLookupError, AssertionError):
                    self._rest(left_s)

    def _rest(self, left_s: float) -> None:
        if left_s > 0:
            trainer = rank_process(self.run_dir, 0)
            os.kill(trainer, signal.SIGSTOP)
            self._awake.wait(left_s)
            os.kill(trainer, signal.SIGCONT)

    def wake(self) -> None:
        """Let it run from now on."""
        self._awake.set()
        self.join()
