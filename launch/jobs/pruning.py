"""Giving up single runs: a file in the run directory that everyone who looks after it sees."""

import time
from pathlib import Path

from pipeline.files.atomic import write_json

PRUNED_FILE = "pruned.json"


def is_pruned(run_dir: Path) -> bool:
    """Whether the run was given up: it shall stop, and not start again."""
    return (run_dir / PRUNED_FILE).exists()


def mark_pruned(run_dir: Path, reason: str) -> None:
    """Give a run up, for good; the first reason stays."""
    if run_dir.is_dir() and not is_pruned(run_dir):
        write_json(run_dir / PRUNED_FILE, {"reason": reason, "time": time.time()})
