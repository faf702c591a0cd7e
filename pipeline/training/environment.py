"""The environment of a run: versions, code, hardware, threads. Written to environment.json."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from orbit import __version__

PACKAGES = ("torch", "numpy", "h5py", "nvidia-dali-cuda130", "nvidia-dali-cuda120")
DECIDES_EXACTNESS = ("packages", "processor", "gpu", "device", "world_size", "num_threads")
"""Entries in which two runs must agree to be bit-identical."""
ESSENTIAL = "pipeline/__init__.py"
SNAPSHOT_NOTE = "snapshot.json"
"""The file in which a copy of the code by `launch/snapshot.py` records its origin."""


def describe_environment(device: torch.device, world_size: int, num_threads: int) -> dict[str, Any]:
    """The environment as plain values; reading it changes nothing."""
    return {
        "orbit": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES if _version(name)},
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "git": _git_state(),
        "host": platform.node(),
        "processor": _processor(),
        "num_cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "device": device.type,
        "world_size": world_size,
        "num_threads": num_threads,
    }


def differences_that_matter(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """'name: old -> new' for each entry that decides exactness and differs."""
    lines = []
    for name in DECIDES_EXACTNESS:
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            changed = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
            lines += [f"{key}: {old.get(key)} -> {new.get(key)}" for key in changed]
        elif old != new:
            lines.append(f"{name}: {old} -> {new}")
    return lines


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    """The commit and whether there were changes; in a copy of the code, those of its origin."""
    root = Path(__file__).resolve().parents[2]
    try:
        note = json.loads((root / SNAPSHOT_NOTE).read_text(encoding="utf-8"))
        return {
            "commit": note["commit"],
            "dirty": note["dirty"],
            "snapshot": note["digest"],
        }
    except (OSError, ValueError, KeyError, TypeError):
        pass

    def ask(*words: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    # A repository that does not track this code, such as one around a virtual environment,
    # has no commit of it.
    commit = ask("rev-parse", "HEAD") if ask("ls-files", "--", ESSENTIAL) else None
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(ask("status", "--porcelain"))}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()
