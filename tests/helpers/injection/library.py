"""The preloaded library, the faults it can make, and the log of calls that it writes."""

import ctypes
import errno
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
SOURCES = tuple(FOLDER / name for name in ("faults.c", "calls.c"))
OUTAGE_S = 8.0

TRANSFERS = frozenset({"read", "pread", "write", "pwrite", "copy"})
WRITES = frozenset({"create", "write", "pwrite", "ftruncate", "copy", "fsync", "fdatasync"})
GROWING = WRITES | {"rename", "link", "mkdir"}
INTERRUPTIBLE = TRANSFERS | WRITES | {"open"}
CHANGING = GROWING | {"unlink", "rmdir"}
"""Operations after which the loss of a node leaves something else than before."""


@dataclass(frozen=True, order=True)
class Call:
    """One file-system call of a program: what, on which path, the how manieth of these.

    `path` is below the watched folder, with random parts as `*`.
    """

    rank: int
    op: str
    path: str
    occurrence: int


@dataclass(frozen=True)
class Fault:
    """What happens to a call. `kind` is as `faults_arm` takes it.

    `lost` is what the node takes along that is killed: "" nothing (the process alone dies),
    "all" whatever was not flushed, names too, "data" the contents alone.
    """

    name: str
    kind: str
    seconds: float = 0.0
    lost: str = ""


def _error(code: int, seconds: float = 0.0) -> Fault:
    name = errno.errorcode[code]
    return Fault(f"{name} for {seconds:.0f} s" if seconds else name, str(code), seconds)


FAULTS = (
    _error(errno.EIO),
    _error(errno.EIO, OUTAGE_S),
    _error(errno.ESTALE),
    _error(errno.ESTALE, OUTAGE_S),
    _error(errno.ENOSPC),
    _error(errno.EINTR),
    Fault("short", "short"),
    Fault("kill", "kill"),
    Fault("node lost", "kill", lost="all"),
    Fault("node lost, names kept", "kill", lost="data"),
)
NONE = Fault("none", "none")


def faults_of(call: Call, size: int) -> list[Fault]:
    """The faults that can befall a call that moved `size` bytes."""
    excluded = set()
    if call.op not in GROWING:
        excluded.add("ENOSPC")
    if call.op not in INTERRUPTIBLE:
        excluded.add("EINTR")
    if call.op not in TRANSFERS or size < 2:
        excluded.add("short")
    if call.op not in CHANGING:
        excluded |= {"node lost", "node lost, names kept"}
    return [fault for fault in FAULTS if fault.name not in excluded]


def why_not() -> str | None:
    """Why faults cannot be injected on this machine, None if they can."""
    if os.uname().sysname != "Linux":
        return "faults are injected by LD_PRELOAD and /proc, which are Linux's"
    if compiler() is None:
        return "no C compiler (cc, gcc or clang) for the library that makes calls fail"
    return None


def compiler() -> str | None:
    """The C compiler of this machine."""
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def build_library(folder: Path) -> Path:
    """Compile the library into `folder`; ValueError with the compiler's words if it cannot."""
    target = folder / "libfaults.so"
    found = compiler()
    assert found is not None, "ask why_not() first"
    words = [found, "-O1", "-Wall", "-fPIC", "-shared", "-o", str(target), *map(str, SOURCES)]
    done = subprocess.run([*words, "-ldl", "-lpthread"], capture_output=True, text=True)
    if done.returncode != 0:
        raise ValueError(f"the library cannot be compiled: {done.stderr[-1000:]}")
    return target


def as_plain(root: Path, log: Path, call: Call | None, fault: Fault, journal: Path | None) -> dict:
    """How to arm a process, as plain values."""
    target = call or Call(0, "", "", 0)
    return {
        "root": str(root),
        "log": str(log),
        "op": target.op,
        "path": target.path,
        "occurrence": target.occurrence,
        "kind": fault.kind,
        "seconds": fault.seconds,
        "journal": str(journal) if journal else "",
    }


def arm(library: str, plain: Mapping) -> None:
    """Arm this process, in which the library was loaded at its start."""
    loaded = ctypes.CDLL(library)
    loaded.faults_arm.argtypes = [ctypes.c_char_p] * 4 + [ctypes.c_int, ctypes.c_char_p]
    loaded.faults_arm.argtypes += [ctypes.c_double, ctypes.c_char_p]
    texts = {key: str(value).encode() for key, value in plain.items()}
    failed = loaded.faults_arm(
        *(texts[key] for key in ("root", "log", "op", "path")),
        int(plain["occurrence"]),
        texts["kind"],
        float(plain["seconds"]),
        texts["journal"],
    )
    if failed:
        raise OSError(f"the library cannot write its log {plain['log']}")


def environment(library: Path, plain: Mapping) -> dict[str, str]:
    """Variables under which a program of its own is armed from its first call on."""
    values = {f"FAULTS_{key.upper()}": str(value) for key, value in plain.items()}
    return {**values, "LD_PRELOAD": str(library)}


def read_calls(log: Path, rank: int = 0) -> list[tuple[Call, int, str]]:
    """The calls of a process in their order, the bytes each moved and what was done to it."""
    found = []
    for line in log.read_text().splitlines() if log.exists() else ():
        if not line.startswith("!"):
            op, path, occurrence, _, result, done = line.split("\t")
            found.append((Call(rank, op, path, int(occurrence)), int(result), done))
    return found
