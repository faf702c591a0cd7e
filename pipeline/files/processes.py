"""Telling whether a process that wrote something down is still the one running."""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def describe_process(pid: int) -> dict[str, Any]:
    """Host, boot, pid and start time of a process of this host: together they are never reused."""
    return {
        "host": socket.gethostname(),
        "boot": _boot_id(),
        "pid": pid,
        "process_start": _process_start(pid),
    }


def is_running(process: Mapping[str, Any]) -> bool:
    """Whether a described process of this host still runs: same boot, same pid, same start time."""
    if process.get("boot") != _boot_id():
        return False
    start = _process_start(int(str(process.get("pid", 0))))
    return start is not None and start == process.get("process_start")


def _boot_id() -> str:
    return (_read_text(Path("/proc/sys/kernel/random/boot_id")) or "").strip()


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
