"""Attempts at a run as the tests of the launcher make them."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from launch.cluster import slurm
from launch.cluster.slurm import Place
from launch.jobs import aftermath, history
from launch.jobs import deciding as restarting
from launch.jobs.deciding import Order, write_order

BASH = shutil.which("bash") or "/bin/bash"
ORDER = Order("mine", "/code", None, 1, None, 5.0, 60.0, None, "/data")
FAULTS = (None, "cluster_fault")


FAILURE = {"kind": "crash", "message": "KeyError"}


def place(restart: int = 0, rank: int = 0, world_size: int = 1, job: str = "7") -> Place:
    return Place(rank, world_size, rank, f"node{rank}", "node0", job, restart)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run directory with its order."""
    folder = tmp_path / "runs" / "the-run"
    folder.mkdir(parents=True)
    write_order(folder, ORDER)
    return folder


def begin(run_dir: Path, restart: int = 0, submission: str = "mine", job: str = "7") -> Path:
    where = place(restart, job=job)
    return history.begin(run_dir, where, submission, 1000.0 + restart, "")


def content(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose `state` scontrol tells, and where `requeues` lists what it was asked for.

    A file `refusals` there holds how many requests it turns down first, and `silence` how many
    questions stay without an answer. Without `state` it knows no such job.
    """
    folder = tmp_path / "slurm"
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "scontrol"
    program.write_text(
        f"""#!{BASH}
cd {folder}
if [[ -e silence ]] && (( $(cat silence) > 0 )); then
    echo $(( $(cat silence) - 1 )) >silence
    echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2
    exit 1
fi
case $* in
    *'show job'*)
        [[ -e state ]] || {{ echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1; }}
        echo "JobId=7 JobState=$(cat state) Reason=None" ;;
    'show hostnames node[3-5]') printf 'node3\\nnode4\\nnode5\\n' ;;
    requeue*)
        echo "$2" >>requeues
        (( $(wc -l <requeues) > $(cat refusals 2>/dev/null || echo 0) )) ||
            {{ echo 'slurm error: try again' >&2; exit 1; }} ;;
    *) exit 1 ;;
esac
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    (folder / "state").write_text("RUNNING")
    return folder


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was slept; nobody does."""
    slept: list[float] = []
    for module in (aftermath, restarting, slurm):
        monkeypatch.setattr(module, "pause", lambda seconds, what: slept.append(seconds))
    return slept


def requeues(scontrol: Path) -> list[str]:
    file = scontrol / "requeues"
    return file.read_text().split() if file.exists() else []
