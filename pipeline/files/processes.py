"""Telling whether a process that wrote something down is still the one running."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def describe_process(pid: int) -> dict[str, Any]:
    """What names a process of this host: together these are never given to another one."""
    return {
        "host": socket.gethostname(),
        "boot": _boot_id(),
        "pid_namespace": _pid_namespace(),
        "pid": pid,
        "process_start": _process_start(pid),
    }


def can_see(process: Mapping[str, Any]) -> bool:
    """Whether one can tell from here if a described process runs.

    Not that of another machine, even one of the same name, nor of a container whose process
    numbers are its own.
    """
    boot = _boot_id()
    namespace = _pid_namespace()
    is_here = bool(boot) and process.get("boot") == boot
    return is_here and process.get("pid_namespace", namespace) == namespace


def is_running(process: Mapping[str, Any]) -> bool:
    """Whether a process that one can see still runs: same boot, same pid, same start time."""
    if not can_see(process):
        return False
    start = _process_start(int(str(process.get("pid", 0))))
    return start is not None and start == process.get("process_start")


def _boot_id() -> str:
    return (_read_text(Path("/proc/sys/kernel/random/boot_id")) or "").strip()


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _process_start(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot, None if it is gone or a zombie."""
    text = _read_text(Path(f"/proc/{pid}/stat"))
    if text is None:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else fields[19]


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
