"""Running a sweep in this process, one run after another, for debugging."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from launch.jobs.deciding import ERROR_FILE
from launch.sweeps.resolving import PlannedRun
from pipeline.config.program import (
    EXIT_COLLAPSED,
    EXIT_STOPPED,
    SHOW_TRACEBACK,
    ExitWithCode,
    describe_error,
)
from pipeline.files.atomic import write_json
from pipeline.printing import say


def run_inline(runs: Sequence[PlannedRun]) -> int:
    """Train the runs; a failing one is reported and the others go on. Returns the exit code."""
    from pipeline.training.run import train

    num_failed = 0
    for number, run in enumerate(runs, start=1):
        say(f"run {number} of {len(runs)}: {run.name}")
        try:
            train(run.config)
        except ExitWithCode as error:
            if error.code == EXIT_STOPPED:
                raise
            num_failed += 1
            note_inline_failure(Path(run.config.run_dir), error)
        except (ValueError, OSError) as error:
            if os.environ.get(SHOW_TRACEBACK):
                raise
            num_failed += 1
            note_inline_failure(Path(run.config.run_dir), error)
    return 1 if num_failed else 0


def note_inline_failure(run_dir: Path, error: Exception) -> None:
    """Say why a run trained in this process failed, and leave it in error.json.

    One that had its result before is finished: only what follows is said.
    """
    from pipeline.training.faults import is_cluster_fault

    kind = "cluster_fault" if is_cluster_fault(error) else "mistake"
    if isinstance(error, ExitWithCode):
        kind = "collapsed" if error.code == EXIT_COLLAPSED else "non_finite"
    message = describe_error(error)
    say(f"{run_dir.name}: {message}")
    if not (run_dir / "result.json").exists():
        write_json(run_dir / ERROR_FILE, {"kind": kind, "message": message, "time": time.time()})
