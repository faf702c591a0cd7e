"""Submitting jobs to SLURM, or to background workers on this machine, and their records.

There is one file for each job array, `<base>/jobs/<name>.json`. It is written before the submission
and again, with the job's id, after it: a submission that was interrupted in between is found by its
name.
"""

import contextlib
import dataclasses
import io
import math
import os
import shlex
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.cluster import slurm
from launch.cluster.settings import LocalConfig, SlurmConfig
from launch.cluster.slurm import ArrayCut, clean_environment, cut_into_arrays
from orbit.core.config.schema import read_json_as
from orbit.core.files.atomic import write_json
from orbit.core.files.listing import list_folder
from orbit.core.files.lock import describe_process, is_running

JOBS = "jobs"


@dataclass(frozen=True)
class JobRecord:
    """A job array (task i works on `tasks[i]`), or workers on this machine that share `tasks`.

    `kind` is train, evaluate, prepare or search; `processes` describes local workers.
    """

    name: str
    kind: str
    cluster: str
    tasks: tuple[str, ...]
    submitted: float
    job_id: str | None = None
    processes: tuple[dict[str, Any], ...] = ()

    def is_alive_here(self) -> bool:
        """Whether one of its workers runs on this machine."""
        return any(is_running(process) for process in self.processes)


def new_name(label: str) -> str:
    """A unique name for a job."""
    safe = "".join(letter if letter.isalnum() else "-" for letter in label)[:30]
    return f"orbit-{safe}-{uuid.uuid4().hex[:8]}"


def write_record(base: Path, record: JobRecord) -> Path:
    """Write or rewrite a record; returns its path."""
    path = base / JOBS / f"{record.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, dataclasses.asdict(record))
    return path


def read_record(path: Path) -> JobRecord:
    """Read one record; ValueError if it cannot be read."""
    return read_json_as(JobRecord, path)


def read_records(base: Path, kinds: Sequence[str] = ()) -> list[JobRecord]:
    """All records below `base`, oldest first, of the given kinds (all if none is given)."""
    records = [read_record(path) for path in list_folder(base / JOBS, "orbit-*.json")]
    chosen = [record for record in records if not kinds or record.kind in kinds]
    return sorted(chosen, key=lambda record: record.submitted)


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

    A worker calls `worker_of(record's path, worker's number)`.
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
    """Start processes detached from this terminal, its pipes and this job, on the snapshot's
    code."""
    environment = dict(os.environ)
    kept = clean_environment(environment)
    hang_up = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    saved = [os.dup(number) for number in range(3)]
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nowhere, number)
    os.environ.clear()
    paths = os.pathsep.join([str(code), *filter(None, [kept.get("PYTHONPATH")])])
    os.environ.update({**kept, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"})
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


Function = Callable[[], Any]

IGNORE_SIGNALS = """trap "" TERM USR2; exec "$0" "$@\""""
"""Without this, a signal before Python has handlers would end the job, and SLURM would not requeue
it."""


def array_limit(config: SlurmConfig) -> int:
    """The most tasks of an array: the configured limit or the cluster's own, if that is lower.

    If a cluster has no arrays at all (0), every task is a job of its own.
    """
    theirs = slurm.max_array_size()
    return config.array_limit if theirs is None else max(1, min(config.array_limit, theirs))


def submit_arrays(
    config: SlurmConfig,
    base: Path,
    code: Path,
    label: str,
    kind: str,
    tasks: Sequence[str],
    function_of: Callable[[str], Function],
    after: Sequence[str] = (),
    hold: bool = False,
) -> list[JobRecord]:
    """Submit `function_of(task)` for every task, in as few arrays as the limits allow.

    `after` are ids of jobs that must succeed first. Returns a record with its job id
    for each array; they are on disk below `base`.
    """
    records: list[JobRecord] = []
    for cut in cut_into_arrays(tasks, array_limit(config), config.max_running):
        record = JobRecord(new_name(label), kind, "slurm", cut.tasks, time.time())
        write_record(base, record)
        executor = make_executor(config, base, code, record.name, cut, records, after, hold)
        with _clean_process_environment():
            jobs = _submit(executor, [function_of(task) for task in cut.tasks])
        record = dataclasses.replace(record, job_id=jobs[0].job_id.split("_")[0])
        write_record(base, record)
        records.append(record)
    return records


def sbatch_text(
    config: SlurmConfig, base: Path, code: Path, name: str, cut: ArrayCut, after: Sequence[str] = ()
) -> str:
    """The batch script that `submit_arrays` submits for this array."""
    executor = make_executor(config, base, code, name, cut, [], after, False)
    if len(cut.tasks) > 1:
        executor.parameters["map_count"] = len(cut.tasks)
    text: str = executor._make_submission_file_text(executor._submitit_command_str, "")
    return text


def make_executor(
    config: SlurmConfig,
    base: Path,
    code: Path,
    name: str,
    cut: ArrayCut,
    earlier: Sequence[JobRecord],
    after: Sequence[str],
    hold: bool,
) -> Any:
    """A submitit executor with the resources of `config`; SlurmError if there is no SLURM."""
    import submitit

    interpreter = config.python or shlex.quote(sys.executable)

    try:
        executor = submitit.SlurmExecutor(
            base / "logs" / name, python=f"bash -c {shlex.quote(IGNORE_SIGNALS)} {interpreter}"
        )
    except RuntimeError:
        raise slurm.SlurmError("no SLURM here: the command srun is missing") from None
    waits = [f"afterok:{job}" for job in after]
    if cut.after is not None and earlier:
        waits.append(f"afterany:{earlier[cut.after].job_id}")
    options: dict[str, Any] = {"requeue": True, **(config.options or {})}
    if waits:
        options["dependency"] = ",".join(waits)
    if hold:
        options["hold"] = True
    optional = {
        "partition": config.partition,
        "account": config.account,
        "qos": config.qos,
        "constraint": config.constraint,
        "gpus_per_node": config.gpus_per_node or None,
        # SLURM accepts integers only.
        "mem": f"{math.ceil(1024 * config.memory_gb)}M" if config.memory_gb is not None else None,
    }
    executor.update_parameters(
        job_name=name,
        nodes=config.nodes,
        ntasks_per_node=config.tasks_per_node,
        cpus_per_task=config.cpus_per_task,
        time=config.time_min,
        signal_delay_s=config.signal_before_s,
        array_parallelism=cut.num_parallel,
        stderr_to_stdout=True,
        additional_parameters=options,
        setup=[
            *config.setup,
            f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}",
            # Otherwise `python -m` would take the code of the current folder, which may have
            # changed.
            "export PYTHONSAFEPATH=1",
        ],
        teardown=[
            "status=$?",
            f'[ "$status" -eq 0 ] || {interpreter} -m launch.jobs.aftermath'
            f' {shlex.quote(str(base / JOBS / name))}.json "$status"',
            'exit "$status"',
        ],
        srun_args=[f"--cpus-per-task={config.cpus_per_task}", "--kill-on-bad-exit=1"],
        **{key: value for key, value in optional.items() if value is not None},
    )
    return executor


def _submit(executor: Any, functions: list[Function]) -> list[Any]:
    """submitit's submission; its errors become one line."""
    import logging

    import submitit

    logging.getLogger("submitit").setLevel(logging.ERROR)
    said_beside = io.StringIO()
    try:
        with contextlib.redirect_stderr(said_beside):
            if len(functions) == 1:
                jobs = [executor.submit(functions[0])]
            else:
                jobs = executor.submit_array(functions)
    except submitit.core.utils.FailedJobError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = next((line for line in lines if "error:" in line.lower()), lines[0])
        raise slurm.SlurmError(f"sbatch refused: {said}") from None
    sys.stderr.write(said_beside.getvalue())
    return jobs


@contextlib.contextmanager
def _clean_process_environment() -> Iterator[None]:
    """Hide the variables of the current job, because submitit starts sbatch with this
    environment."""
    before = dict(os.environ)
    kept = slurm.clean_environment(before)
    for name in before:
        if name not in kept:
            del os.environ[name]
    sys.stdout.flush()
    try:
        yield
    finally:
        os.environ.update(before)
