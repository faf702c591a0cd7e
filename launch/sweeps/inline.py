"""Running a sweep in this process, one run after another, for debugging."""

import os
from collections.abc import Sequence

from launch.sweeps.resolving import PlannedRun
from pipeline.config.program import EXIT_STOPPED, SHOW_TRACEBACK, ExitWithCode, describe_error


def run_inline(runs: Sequence[PlannedRun]) -> int:
    """Train the runs; a failing one is reported and the others go on. Returns the exit code."""
    from pipeline.training.run import train

    num_failed = 0
    for number, run in enumerate(runs, start=1):
        print(f"run {number} of {len(runs)}: {run.name}", flush=True)
        try:
            train(run.config)
        except ExitWithCode as error:
            if error.code == EXIT_STOPPED:
                raise
            num_failed += 1
            print(f"{run.name}: {error}", flush=True)
        except (ValueError, OSError) as error:
            if os.environ.get(SHOW_TRACEBACK):
                raise
            num_failed += 1
            print(f"{run.name}: {describe_error(error)}", flush=True)
    return 1 if num_failed else 0
