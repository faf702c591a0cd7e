"""The command that helps, for each state of a run."""

import os
import shlex
import sys
from pathlib import Path

from launch.jobs.run_state import RunState
from launch.jobs.standing import INTERRUPTED
from orbit.core.config.program import command_for
from orbit.core.config.yaml_files import read_yaml

AGAIN = "submit again"
"""A placeholder for a command that is the same for all runs of a sweep, and is shown once."""
HELD = ("JobHeldUser", "JobHeldAdmin")


def help_for(state: RunState, run_dir: Path, sweep: Path | None) -> str:
    """The next command for a run; `sweep` is its sweep directory, if any."""
    run = shown(run_dir)
    if state.state == "waiting":
        if not state.job or not state.job.replace("_", "").isdecimal():
            return f"{command_for('status')} {shown(sweep or run_dir)} watch=true"
        if any(reason in state.detail for reason in HELD):
            return f"scontrol release {state.job}"
        return f"squeue --job {state.job}"
    if state.state in ("starting", "running", "failed", "collapsed"):
        return f"{command_for('logs')} {run}"
    if state.state == "finished":
        evaluate = "launch-evaluate" if _by_word() else "evaluate"
        return f"{command_for(evaluate)} runs={run}"
    if state.state == "unknown":
        return "squeue --me"
    if state.state in (*INTERRUPTED, "planned"):
        return AGAIN if sweep is not None else f"{_train()} config={run}/config.yaml run_dir={run}"
    return f"{command_for('collect')} {shown(sweep if sweep is not None else run_dir.parent)}"


def sweep_again(sweep: Path) -> str | None:
    """The command that a sweep was submitted with; None if its directory does not record it."""
    try:
        request = read_yaml((sweep / "sweep.yaml").read_text(encoding="utf-8"))
        words = [str(word) for word in request["words"]]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return f"{command_for('sweep')} {shlex.join(words)}"


def shown(path: Path) -> str:
    """A path for the command line: relative if it is below the current folder."""
    relative = os.path.relpath(path)
    return shlex.quote(str(path) if relative.startswith("..") else relative)


def _by_word() -> bool:
    return " " in command_for("status") and not command_for("status").endswith(".py")


def _train() -> str:
    """The training program is in a different folder."""
    if _by_word():
        return command_for("train")
    return f"python {Path(sys.argv[0]).parent.parent / 'pipeline' / 'train.py'}"
