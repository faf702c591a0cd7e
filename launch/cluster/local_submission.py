"""Workers in the background of this machine, by submitit's local executor."""

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launch.cluster.settings import LocalConfig
from launch.cluster.slurm import clean_environment
from launch.jobs.records import JobRecord, new_name, write_record
from pipeline.files.processes import describe_process

NO_LIMIT_MIN = 60 * 24 * 365


def submit_workers(
    config: LocalConfig,
    base: Path,
    code: Path,
    label: str,
    kind: str,
    tasks: Sequence[str],
    worker_of: Callable[[Path, int], Callable[[], Any]],
) -> JobRecord:
    """Start up to `max_running` workers on `tasks`; they outlive this program.

    `worker_of(record's path, worker's number)` is what a worker calls.
    """
    import submitit

    record = JobRecord(new_name(label), kind, "local", tuple(tasks), time.time())
    path = write_record(base, record)
    processes = []
    for number in range(min(config.max_running, len(tasks))):
        executor = submitit.LocalExecutor(base / "logs" / record.name)
        gpus = config.gpus[number : number + 1]
        executor.update_parameters(
            timeout_min=NO_LIMIT_MIN,
            gpus_per_node=len(gpus),
            visible_gpus=gpus,
            stderr_to_stdout=True,
        )
        with _background(code):
            job = executor.submit(worker_of(path, number))
        processes.append(describe_process(int(job.job_id)))
    record = dataclasses.replace(record, processes=tuple(processes))
    write_record(base, record)
    return record


@contextmanager
def _background(code: Path) -> Iterator[None]:
    """Start processes without our terminal, our pipes or our job, on the snapshot's code."""
    environment = dict(os.environ)
    kept = clean_environment(environment)
    hang_up = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    saved = [os.dup(number) for number in range(3)]
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nowhere, number)
    os.environ.clear()
    os.environ.update({**kept, "PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        for number, copy in enumerate(saved):
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)
        signal.signal(signal.SIGHUP, hang_up)
