"""From a sweep directory to a controller that works until the search is over."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from launch.cluster.settings import ClusterConfig, InlineConfig, LocalConfig
from launch.reports.run_state import CANCELLED_FILE
from launch.sweeps.directory import SweepDirectory
from launch.sweeps.search import Controller
from launch.sweeps.search_order import SearchOrder, read_search_order
from launch.sweeps.search_summary import write_summary
from launch.sweeps.study import JOURNAL, SearchStudy, mend_journal
from launch.sweeps.trial_jobs import ClusterJobs, TrialJobs
from pipeline.files.lock import DirectoryLock

Outcome = Literal["finished", "stopped", "cancelled"]
LOCK_FILE = ".search.lock"


def run_search(folder: Path, stop: Callable[[], bool], say: Callable[[str], None]) -> Outcome:
    """Go on with the search of a sweep directory until it is over or `stop` says so.

    Jobs that were submitted go on without this process. Raises ValueError if another
    controller is at work or took the search over meanwhile, or if the metric is none that
    validation gives.
    """
    order, directory = read_search_order(folder), SweepDirectory(folder)
    with DirectoryLock(folder, "search controllers", file=LOCK_FILE) as lock:
        mend_journal(folder / JOURNAL)
        study = SearchStudy(folder, order.search)
        jobs = make_jobs(order, directory)
        controller = Controller(order, directory, study, jobs, say)
        while not _step(controller, lock):
            deadline = time.monotonic() + jobs.poll_s
            while time.monotonic() < deadline and not stop():
                time.sleep(0.1)
            if (folder / CANCELLED_FILE).exists():
                return "cancelled"
            if stop():
                return "stopped"
        lock.check_owned()
        write_summary(folder, order.search, study)
    return "finished"


def _step(controller: Controller, lock: DirectoryLock) -> bool:
    """A step of the one controller; LostLockError if that is another by now."""
    lock.check_owned()
    return controller.step()


def make_jobs(order: SearchOrder, directory: SweepDirectory) -> TrialJobs:
    """Whoever trains on the cluster of the order."""
    cluster = order.cluster
    if isinstance(cluster, InlineConfig):
        from launch.sweeps.inline_trials import InlineJobs

        return InlineJobs(directory, cluster, order.snapshot)
    max_trials = num_parallel(order.search.num_parallel, len(order.sweep.seeds), cluster)
    return ClusterJobs(
        directory, cluster, order.snapshot, order.stage, order.search.poll_s, max_trials
    )


def num_parallel(wanted: int, num_seeds: int, cluster: ClusterConfig) -> int:
    """Trials at a time: as many as wanted, but no more than keep this machine's places busy."""
    if isinstance(cluster, InlineConfig):
        return 1
    if isinstance(cluster, LocalConfig):
        return min(wanted, -(-cluster.max_running // num_seeds))
    return wanted
