"""The job of a search's controller: small, and put back into the queue when it is interrupted."""

import dataclasses
import os
import sys
import time
from pathlib import Path

from launch.cluster.settings import SlurmConfig
from launch.jobs.deciding import request_restart
from launch.jobs.places import in_slurm, slurm_place
from launch.jobs.rank_process import StopNote
from launch.jobs.run_state import CANCELLED_FILE
from orbit.core.config.program import describe_error
from orbit.core.files.atomic import write_json
from orbit.core.files.waiting import StoppedWaiting, trying_again
from orbit.core.printing import say

FAILURE_FILE = "search_error.json"
MEMORY_GB = 4.0
NOT_FOR_CONTROLLERS = ("gpu", "gres", "exclusive", "ntasks", "tres", "mem", "switches")
"""Beginnings of sbatch options that are about a run's resources."""


class SearchJob:
    """Works on the search of a sweep directory; everything else is read there."""

    def __init__(self, sweep_dir: str) -> None:
        self.sweep_dir = sweep_dir

    def __call__(self) -> str:
        """Returns how it ended; exits with 1, and says why in search_error.json, if it failed."""
        stop = StopNote()
        stop.install()
        folder = Path(self.sweep_dir)

        def should_stop() -> bool:
            return stop.signal is not None

        from launch.sweeps.search import run_search

        try:
            outcome = trying_again(
                lambda: run_search(folder, should_stop, say), "the search", should_stop
            )
        except StoppedWaiting:
            outcome = "stopped"
        except (ValueError, OSError, ImportError) as error:
            message = describe_error(error)
            write_json(folder / FAILURE_FILE, {"message": message, "time": time.time()})
            say(f"the search ended: {message}", error=True)
            sys.exit(1)
        if outcome == "stopped" and in_slurm():
            assert stop.signal is not None
            why = f"told to stop by {stop.signal.name}"
            request_restart(slurm_place(os.environ).job, why, folder / CANCELLED_FILE)
        return outcome


def controller_resources(cluster: SlurmConfig) -> SlurmConfig:
    """The same cluster with what a controller needs: one processor of one node."""
    options = {
        key: value
        for key, value in (cluster.options or {}).items()
        if not key.startswith(NOT_FOR_CONTROLLERS)
    }
    memory = None if cluster.memory_gb is None else min(cluster.memory_gb, MEMORY_GB)
    return dataclasses.replace(
        cluster,
        nodes=1,
        tasks_per_node=1,
        gpus_per_node=0,
        cpus_per_task=1,
        memory_gb=memory,
        options=options,
    )
