"""Hundreds of points: planned, submitted and looked at in a few calls of SLURM's commands."""

import os
import shutil
from pathlib import Path

import pytest
from helpers.launching import Launcher

NUM_POINTS = 400
COMMANDS = ("sbatch", "squeue", "scontrol", "sacct", "scancel", "sinfo")


@pytest.fixture
def counted(launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a line for each call of SLURM's commands, its name first."""
    calls, folder = tmp_path / "calls", tmp_path / "bin"
    folder.mkdir()
    path = launcher.cluster.environment["PATH"]
    for name in COMMANDS:
        program = shutil.which(name, path=path)
        assert program is not None, name
        script = f'#!/bin/sh\necho "{name} $*" | head -n 1 >>"{calls}"\nexec {program} "$@"\n'
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    searched = f"{folder}{os.pathsep}{path}"
    monkeypatch.setitem(launcher.cluster.environment, "PATH", searched)
    return calls


def num_calls(calls: Path) -> dict[str, int]:
    """Calls of each command since the last look."""
    names = [line.split()[0] for line in calls.read_text().splitlines()]
    calls.unlink()
    return {name: names.count(name) for name in COMMANDS}


def test_hundreds_of_points_take_a_few_calls(
    launcher: Launcher, counted: Path, tmp_path: Path
) -> None:
    """Not one for each point: SLURM's controller serves everybody."""
    sweep_dir = tmp_path / "sweep"
    words = ("sweep=random_search", f"sweep.search.num_points={NUM_POINTS}", "hold=true")
    try:
        said = launcher.sweep(sweep_dir, *words)
        assert said.count("submitted 100 runs") == NUM_POINTS // 100
        submitting = num_calls(counted)
        assert submitting.pop("sbatch") == NUM_POINTS // 100
        assert sum(submitting.values()) <= NUM_POINTS // 50
        states = launcher.states(sweep_dir)
        assert sum(num_calls(counted).values()) <= NUM_POINTS // 50
        assert {state["state"] for state in states.values()} == {"waiting"}
        assert len(states) == NUM_POINTS
    finally:
        launcher.call("cancel", str(sweep_dir))
