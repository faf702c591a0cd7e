"""A process that has imported everything and forks a child for each program it is asked to run.

Started as `python -m helpers.injection.warm SOCKET LIBRARY CODE` with the library preloaded. It
stays single-threaded, so that a child is as a process of its own would be; they arm the library.
Each connection gets a process of its own that does one job after another: a line of JSON in, a
line out.
"""

import ctypes
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from helpers.injection.library import arm
from helpers.injection.subjects import TRAINING
from helpers.warm_parent import redirect, run_program

POLL_S = 0.004
PEER_PATIENCE_S = 4.0
"""How long ranks may outlive one that failed before they are told to end, and then killed."""
SET_DEATH_SIGNAL = 1
HANGS = -1000
"""Exit code of a program that had to be killed because it did not end in time."""


def import_everything() -> None:
    """All modules of the package and what they import late, and the caches of the slow ones."""
    import torch

    torch.set_num_threads(1)
    for package in ("orbit", "pipeline", "data_prep", "launch"):
        path = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(path, f"{package}."):
            try:
                importlib.import_module(module.name)
            except (ImportError, ValueError):
                pass  # An optional part of the package that is not installed.
    for name in (
        "nvidia.dali.fn",
        "torch.utils.tensorboard",
        "torch._dynamo",
        "torch.export",
        "PIL.PngImagePlugin",
    ):
        importlib.import_module(name)
    _compose_everything()
    _draw_something()
    tqdm = importlib.import_module("tqdm").tqdm
    interval, tqdm.monitor_interval = tqdm.monitor_interval, 0  # It would start a thread.
    torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(3, 2),), strict=True)
    tqdm.monitor_interval = interval


def _compose_everything() -> None:
    """The parser of configurations learns its grammar as it goes: most of what a start costs."""
    from orbit.core.config.compose import compose

    everything = frozenset({"data", "run_dir", "out", "source.root"})
    words = ["dataset=image_folder", "source.root=x", "out=x", "overwrite=true"]
    compose("prepare", [*words, "num_workers=1", "seed=1"], everything, {"source": "dataset"})
    words = [word for word in TRAINING if not word.startswith("data=")]
    compose("train", [*words, "data=x", "run_dir=x", "num_train_items=8"], everything)
    for program in ("evaluate", "export"):
        compose(program, ["run_dir=x"], everything)
    compose("sweep", ["cluster=inline", "sweep=single", "sweep_dir=x"], frozenset({"sweep_dir"}))


def _draw_something() -> None:
    import io

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    axes.set_title("$x$ 0")
    figure.savefig(io.BytesIO())
    plt.close(figure)


def copy_less_code(code: str) -> None:
    """Let sweeps copy the few files in `code`, in place of all of this repository."""
    command = importlib.import_module("launch.sweeps.command")
    command.REPOSITORY = Path(code)  # type: ignore[attr-defined]


def serve(place: str, library: str, code: str) -> None:
    """Answer connections until standard input is closed."""
    import_everything()
    copy_less_code(code)
    num_threads = len(os.listdir("/proc/self/task"))
    if num_threads != 1:
        raise RuntimeError(f"{num_threads} threads: children of this process could hang")
    gc.collect()
    gc.freeze()  # Children shall not copy memory to look for garbage.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(place)
        server.listen()
        while True:
            ready, _, _ = select.select([server, sys.stdin], [], [])
            if sys.stdin in ready:
                os._exit(0)
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                _end_with_parent()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _answer(connection, library)
                os._exit(0)
            connection.close()


def _answer(connection: socket.socket, library: str) -> None:
    with connection.makefile("rw") as file:
        for line in file:
            job = json.loads(line)
            started = time.monotonic()
            codes = _run_job(job, library)
            answer = {"codes": codes, "seconds": time.monotonic() - started}
            file.write(json.dumps(answer) + "\n")
            file.flush()


def _run_job(job: dict[str, Any], library: str) -> list[int]:
    """Exit codes of the processes of a job, negative for a signal, HANGS for one that was ended."""
    left = {_start(process, library): rank for rank, process in enumerate(job["processes"])}
    codes = [0] * len(left)
    deadline = time.monotonic() + job["timeout_s"]
    failed_at, was_told = None, False
    while left:
        pid, status = os.waitpid(-1, os.WNOHANG)
        now = time.monotonic()
        if pid in left:
            codes[left.pop(pid)] = os.waitstatus_to_exitcode(status)
            if status and failed_at is None:
                failed_at = now
            if job["is_node"] and codes.count(-signal.SIGKILL):
                deadline, failed_at = now + 60, None
                _send(left, signal.SIGKILL)
            continue
        if failed_at is not None and now > failed_at + PEER_PATIENCE_S and not was_told:
            was_told = True
            _send(left, signal.SIGTERM)
        if now > deadline or (was_told and now > failed_at + 3 * PEER_PATIENCE_S):
            for lost, rank in left.items():
                _send([lost], signal.SIGKILL)
                os.waitpid(lost, 0)
                codes[rank] = HANGS
            return codes
        time.sleep(POLL_S)
    return codes


def _send(pids: Any, number: signal.Signals) -> None:
    for pid in pids:
        os.killpg(pid, number)


def _start(process: dict[str, Any], library: str) -> int:
    pid = os.fork()
    if pid:
        try:
            os.setpgid(pid, pid)
        except OSError:
            pass  # It has done so itself.
        return pid
    code = 70
    try:
        _end_with_parent()
        os.setpgid(0, 0)
        redirect(process["out"], process["err"])
        os.environ.update(process["environment"])
        if process["planted"]:
            importlib.import_module("helpers.injection.planted").plant(process["planted"])
        arm(library, process["arming"])
        code = run_program(process["program"], process["words"])
    finally:
        os._exit(code)


def _end_with_parent() -> None:
    """Be killed when the process that forked this one is gone."""
    ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGKILL)


if __name__ == "__main__":
    serve(*sys.argv[1:])
