"""An interpreter that has imported everything already: for programs that tests start by the dozen.

`WarmPython.executable` stands for `sys.executable`: called with the words of an interpreter
(FILE, -m MODULE or -c CODE), it hands its words, folder, environment and open files to a
process that forks a child for them, sends the child the signals it gets, and ends as the child
ends. Its own death kills the child. Programs that a child starts by `sys.executable` come the same
way. Only where a test asks what a program does, never what its start costs.
"""

import array
import atexit
import fcntl
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from helpers.warm_parent import freeze, import_everything
from orbit.core import plugins

PATIENCE_S = 600.0
MOST_BYTES = 2**20
MOST_FILES = 64
HANDED_ON = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2")

CLIENT = """#!{python} -IS
import array, json, os, signal, socket, sys
numbers = []
for name in os.listdir("/proc/self/fd"):
    try:
        os.set_inheritable(int(name), True)
        numbers.append(int(name))
    except OSError:
        pass  # The list's own, closed again.
line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, {most})
line.connect({place!r})
job = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ), numbers]).encode()
files = array.array("i", numbers)
line.sendmsg([job], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
pid = int(line.recv(64))
def hand_on(number, frame):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
for name in {handed_on!r}:
    signal.signal(getattr(signal, name), hand_on)
code = int(line.recv(64) or b"70")
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
os._exit(code)
"""


class WarmPython:
    """Starts the process; a context manager. `executable` waits until everything is imported."""

    def __init__(self, folder: Path) -> None:
        self.executable = folder / "python"
        self._place = folder / "socket"
        text = CLIENT.format(
            python=sys.executable, place=str(self._place), most=MOST_BYTES, handed_on=HANDED_ON
        )
        self.executable.write_text(text)
        self.executable.chmod(0o755)
        tests = Path(__file__).resolve().parents[1]
        one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "helpers.warm_python", str(self._place), str(self.executable)],
            env={**os.environ, **one, "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"},
            stdin=subprocess.PIPE,
        )
        deadline = time.monotonic() + PATIENCE_S
        while not self._place.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the warm interpreter did not start")
            time.sleep(0.05)

    def __enter__(self) -> "WarmPython":
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve(place: str, executable: str) -> None:
    """Answer until standard input is closed: a job from each connection, its PID, its code."""
    import_everything()
    freeze()
    sys.executable = executable
    waking, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(f"{place}.tmp")
    server.listen(64)
    os.rename(f"{place}.tmp", place)
    children: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([server, waking, sys.stdin, *children.values()], [], [])
        if waking in ready:
            os.read(waking, 4096)
        _reap(children)
        if sys.stdin in ready:
            for pid in children:
                _kill(pid)
            os._exit(0)
        for pid, line in children.items():
            if line in ready:
                _kill(pid)  # Whoever asked for it is gone.
        if server in ready:
            line, _ = server.accept()
            job = _receive(line)
            if job is None:
                line.close()
                continue
            words, folder, environment, files = job
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for each in (server, line, *children.values()):
                    each.close()
                _become(words, folder, environment, files)
            for file in files.values():
                os.close(file)
            children[pid] = line
            _tell(line, pid)


Job = tuple[list[str], str, dict[str, str], dict[int, int]]


def _receive(line: socket.socket) -> Job | None:
    """Words, folder, environment and files by their numbers; None if nobody asks any more."""
    room = socket.CMSG_SPACE(MOST_FILES * array.array("i").itemsize)
    try:
        message, ancillary, _, _ = line.recvmsg(MOST_BYTES, room)
    except OSError:
        return None
    if not message:
        return None
    files = array.array("i")
    files.frombytes(ancillary[0][2])
    words, folder, environment, numbers = json.loads(message)
    return words, folder, environment, dict(zip(numbers, files, strict=True))


def _reap(children: dict[int, socket.socket]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with children.pop(pid) as line:
            _tell(line, os.waitstatus_to_exitcode(status))


def _tell(line: socket.socket, number: int) -> None:
    try:
        line.send(str(number).encode())
    except OSError:
        pass  # Whoever asked for it is gone.


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _become(
    words: list[str], folder: str, environment: dict[str, str], files: dict[int, int]
) -> Any:
    """Every file gets the number that it had where the job came from."""
    code = 70
    try:
        above = 1 + max(*files, *files.values())
        high = {number: fcntl.fcntl(file, fcntl.F_DUPFD, above) for number, file in files.items()}
        for file in files.values():
            os.close(file)
        for number, file in high.items():
            os.dup2(file, number)
            os.close(file)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        while words[0] not in ("-m", "-c") and words[0].startswith("-"):
            words = words[1 + (words[0] in ("-X", "-W")) :]  # the interpreter's own
        code = _run(words)
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _run(words: list[str]) -> int:
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    plugins.forget()  # these paths may lead to packages that the parent did not know
    try:
        if words[0] == "-m":
            sys.argv, sys.path[:0] = words[1:], ["", *paths]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        elif words[0] == "-c":
            sys.argv, sys.path[:0] = ["-c", *words[2:]], ["", *paths]
            exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv, sys.path[:0] = words, [str(Path(words[0]).resolve().parent), *paths]
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as error:
        if isinstance(error.code, str):
            sys.stderr.write(f"{error.code}\n")
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve(*sys.argv[1:])
