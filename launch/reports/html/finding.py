"""Which runs a directory holds: one run, a sweep, or a folder of runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.reports.run_state import RunState, read_run_state
from launch.reports.status_table import read_status
from launch.sweeps.directory import SweepDirectory

MARKS = (
    "config.yaml",
    "metrics.jsonl",
    "environment.json",
    "heartbeat.json",
    "result.json",
    "launch.json",
    "error.json",
    "attempts",
    "checkpoints",
)
"""A directory with one of these is a run, in whatever state."""


@dataclass(frozen=True)
class FoundRun:
    """A run directory, which need not exist. `values` are what a sweep varied, if it is one's."""

    name: str
    path: Path
    root: Path
    state: RunState
    values: dict[str, Any] | None = None


@dataclass(frozen=True)
class Root:
    """A directory that was asked for, and what it is: `run`, `sweep` or `folder`."""

    path: Path
    kind: str
    runs: tuple[FoundRun, ...]
    unchecked: str | None = None


def find_runs(paths: Sequence[Path]) -> list[Root]:
    """The runs of each directory, by name; a run that two of them hold counts once.

    A directory without any run counts as a run that has left nothing. Raises
    FileNotFoundError for a directory that does not exist, NotADirectoryError for a file.
    """
    roots: list[Root] = []
    taken: set[Path] = set()
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"no run at {path}: there is no such directory")
        if not path.is_dir():
            raise NotADirectoryError(f"{path} is a file: give a run, a sweep or a folder of runs")
        root = _read_root(path.absolute())
        fresh = tuple(run for run in root.runs if run.path.resolve() not in taken)
        taken |= {run.path.resolve() for run in fresh}
        roots.append(Root(root.path, root.kind, fresh, root.unchecked))
    return roots


def is_run(path: Path) -> bool:
    """Whether a directory looks like a run's."""
    return any((path / mark).exists() for mark in MARKS)


def _read_root(path: Path) -> Root:
    unchecked: str | None = None
    try:
        sweep = _read_sweep(path)
    except ValueError as error:
        sweep, unchecked = None, str(error)
    if sweep is not None:
        return sweep
    folder = path / "runs" if (path / "runs").is_dir() else path
    if is_run(path) or not any(is_run(inner) for inner in folder.iterdir() if inner.is_dir()):
        state = read_run_state(path, None, was_submitted=False)
        return Root(path, "run", (FoundRun(path.name, path, path, state),), unchecked)
    inner_runs = sorted(
        inner for inner in folder.iterdir() if inner.is_dir() and not inner.name.startswith(".")
    )
    found = [
        FoundRun(
            inner.name,
            inner,
            path,
            read_run_state(inner, None, was_submitted=False),
        )
        for inner in inner_runs
        if is_run(inner) or not any(inner.iterdir())
    ]
    return Root(path, "folder", tuple(found), unchecked)


def _read_sweep(path: Path) -> Root | None:
    """The runs that a sweep planned and all others in its folder; None if this is no sweep."""
    directory = SweepDirectory(path)
    if not directory.exists():
        return None
    status, plan = read_status(path), directory.read_plan()
    runs = [
        FoundRun(name, directory.runs / name, path, state, plan.get(name))
        for name, state in status.states.items()
    ]
    return Root(path, "sweep", tuple(runs), status.unchecked)
