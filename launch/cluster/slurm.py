"""SLURM: its commands, its answers, division of work into job arrays, the place of a process.

There may be no accounting database, so only squeue, scontrol and sinfo are used here, and
`launch.cluster.accounting` is a further source. What they cannot answer is None, never a guess. If
SLURM does not answer, SlurmError is raised: a missing answer says nothing about a job.

A process has a rank, a world size and an attempt. SLURM's variables say which; without SLURM they
are those of processes on this machine.
"""

import getpass
import os
import re
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orbit.core.files.waiting import pause, saying


@dataclass(frozen=True)
class ArrayCut:
    """A job array: its tasks, how many may run at once, and the array it waits for, if any."""

    tasks: tuple[str, ...]
    num_parallel: int
    after: int | None


def cut_into_arrays(
    tasks: Sequence[str], array_limit: int, max_running: int | None
) -> list[ArrayCut]:
    """Arrays of at most `array_limit` tasks, of which at most `max_running` run at once in total.

    The limit is divided among the arrays; if there are more arrays than it allows, each later one
    waits for an earlier one.
    """
    pieces = [
        tuple(tasks[first : first + array_limit]) for first in range(0, len(tasks), array_limit)
    ]
    if max_running is None:
        return [ArrayCut(piece, len(piece), None) for piece in pieces]
    num_lanes = min(len(pieces), max_running)
    cuts = []
    for number, piece in enumerate(pieces):
        lane = number % num_lanes
        share = max_running // num_lanes + (lane < max_running % num_lanes)
        after = number - num_lanes if number >= num_lanes else None
        cuts.append(ArrayCut(piece, min(share, len(piece)), after))
    return cuts


ANSWER_TIMEOUT_S = 60
INHERITED = re.compile(
    r"(SLURM_|SLURMD_|SRUN_|SBATCH_|SALLOC_|SUBMITIT_|PMI_|PMIX_)"
    r"|(MASTER_ADDR|MASTER_PORT|RANK|WORLD_SIZE|LOCAL_RANK|LOCAL_WORLD_SIZE|GROUP_RANK"
    r"|ORBIT_RENDEZVOUS|CUDA_VISIBLE_DEVICES)$"
)
PAUSES_S = (2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0, 60.0, 60.0, 60.0, 60.0, 60.0)
"""Pauses between retries of a query, nine minutes in total, enough for a restart of SLURM's
controller."""
NO_SUCH_JOB = re.compile(r"invalid job id", re.I)
KEPT = ("SLURM_CONF", "SLURM_CLUSTERS")


class SlurmError(ValueError):
    """SLURM is missing, did not answer, or refused; the message says which."""


@dataclass(frozen=True)
class LiveTask:
    """A job, or task `index` of a job array."""

    job_id: str
    index: int | None
    raw_id: str
    state: str
    reason: str
    name: str


@dataclass(frozen=True)
class Partition:
    """Limits of a partition; None means no limit."""

    max_minutes: int | None
    num_nodes: int
    max_nodes: int | None
    has_gpus: bool
    is_up: bool


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the variables of the current job, so that a new job starts clean."""
    return {
        name: value
        for name, value in environment.items()
        if name in KEPT or not INHERITED.match(name)
    }


def ask(*command: str) -> str:
    """The standard output of a SLURM command; SlurmError with the first line of its error
    otherwise."""
    return ask_within(ANSWER_TIMEOUT_S, {}, *command)


def ask_within(timeout_s: float, variables: Mapping[str, str], *command: str) -> str:
    """As `ask`, with another limit and further environment variables."""
    environment = {**clean_environment(os.environ), **variables}
    try:
        with saying(f"{command[0]} to answer (at most {timeout_s:g} s)"):
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=timeout_s
            )
    except FileNotFoundError:
        raise SlurmError(f"no SLURM here: the command {command[0]} is missing") from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{command[0]} did not answer within {timeout_s:g} s") from None
    if done.returncode != 0:
        complaint = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise SlurmError(f"{command[0]} failed: {complaint[0]}")
    return done.stdout


def known_tasks() -> list[LiveTask]:
    """All jobs of this user that SLURM still speaks of, array tasks one by one.

    Those that are over are among them, for minutes: `LIVE_STATES` are the states of the others.
    """
    output = ask(
        "squeue",
        "--noheader",
        "--array",
        f"--user={getpass.getuser()}",
        "--states=all",
        "--format=%F|%K|%A|%T|%r|%j",
    )
    tasks = []
    for line in output.splitlines():
        job_id, index, raw_id, state, reason, name = line.strip().split("|", 5)
        number = int(index) if index.isdigit() else None
        tasks.append(LiveTask(job_id, number, raw_id, state, reason, name))
    return tasks


LIVE_STATES = frozenset(
    {
        "PENDING",
        "CONFIGURING",
        "RUNNING",
        "COMPLETING",
        "SUSPENDED",
        "STOPPED",
        "REQUEUED",
        "REQUEUE_HOLD",
        "REQUEUE_FED",
        "RESIZING",
        "SIGNALING",
        "STAGE_OUT",
        "SPECIAL_EXIT",
    }
)


def partitions() -> dict[str, Partition]:
    """All partitions by name; the default one also under the empty name."""
    found: dict[str, Partition] = {}
    for line in ask("scontrol", "--oneliner", "show", "partition").splitlines():
        fields = _fields(line)
        partition = Partition(
            minutes_of_limit(fields.get("MaxTime", "UNLIMITED")),
            int(fields.get("TotalNodes", "0")),
            None if not fields.get("MaxNodes", "").isdigit() else int(fields["MaxNodes"]),
            "gres/gpu" in fields.get("TRES", ""),
            fields.get("State", "UP") == "UP",
        )
        found[fields["PartitionName"]] = partition
        if fields.get("Default") == "YES":
            found[""] = partition
    return found


def minutes_of_limit(text: str) -> int | None:
    """Minutes of a limit as scontrol prints it, None if unlimited."""
    if text in ("UNLIMITED", "INFINITE", "Partition_Limit"):
        return None
    days, _, clock = text.rpartition("-")
    hours, minutes, *_ = map(int, clock.split(":"))
    return (int(days or 0) * 24 + hours) * 60 + minutes


def max_array_size() -> int | None:
    """The largest number of tasks in a job array, None if SLURM does not say."""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"), re.M)
    return int(match.group(1)) if match else None


def accounts() -> set[str] | None:
    """Accounts that this user may use, None if there is no accounting."""
    try:
        output = ask(
            "sacctmgr",
            "--noheader",
            "--parsable2",
            "show",
            "assoc",
            f"user={getpass.getuser()}",
            "format=account",
        )
    except SlurmError:
        return None
    return set(output.split()) or None


@dataclass(frozen=True)
class JobFacts:
    """A job's state, how often it was put back into the queue, and whether it was preempted."""

    state: str
    num_restarts: int | None = None
    was_preempted: bool = False


def job_facts(job_id: str) -> JobFacts | None:
    """What SLURM says of a job, None if it knows no such job; SlurmError if it says nothing.

    An answer that cannot be parsed counts as no answer.
    """
    try:
        answer = ask("scontrol", "--oneliner", "show", "job", job_id)
    except SlurmError as error:
        if NO_SUCH_JOB.search(str(error)):
            return None
        raise
    fields = _fields(answer)
    state, restarts = fields.get("JobState"), fields.get("Restarts", "")
    if state is None:
        raise SlurmError(f"scontrol did not say what state job {job_id} is in")
    was_preempted = fields.get("PreemptTime", "None") != "None"
    return JobFacts(state, int(restarts) if restarts.isdecimal() else None, was_preempted)


def job_state(job_id: str) -> str | None:
    """A job's state; as `job_facts`."""
    facts = job_facts(job_id)
    return None if facts is None else facts.state


def pauses() -> Iterator[None]:
    """Pauses for loops that ask until there is an answer; ends after the last of the `PAUSES_S`."""
    yield
    for seconds in PAUSES_S:
        pause(seconds, "SLURM to answer")
        yield


def requeue(job_id: str) -> None:
    """Request a requeue of this job."""
    ask("scontrol", "requeue", job_id)


def cancel(job_ids: Iterable[str]) -> None:
    """Cancel jobs, array tasks as `<array>_<index>`."""
    ids = list(job_ids)
    for first in range(0, len(ids), 200):
        ask("scancel", *ids[first : first + 200])


def first_host(node_list: str) -> str:
    """The first node of SLURM's compressed list, `node[1-3,5]`; asks until SLURM answers."""
    complaint = SlurmError("scontrol named no node")
    for _ in pauses():
        try:
            return ask("scontrol", "show", "hostnames", node_list).split()[0]
        except SlurmError as error:
            complaint = error
        except IndexError:
            continue
    raise complaint


def _fields(line: str) -> dict[str, str]:
    """`A=1 B=2` as a mapping; values with spaces keep their first word, which is enough here."""
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


@dataclass(frozen=True)
class Place:
    """One rank of one attempt of a job. `restart` counts the job's earlier attempts."""

    rank: int
    world_size: int
    local_rank: int
    host: str
    first_host: str
    job: str
    restart: int

    @property
    def attempt(self) -> str:
        """A name that no other job and no other attempt of this job has."""
        return f"{self.job}-{self.restart}"


def slurm_place(environment: Mapping[str, str]) -> Place:
    """The place that SLURM gave this process."""
    host = environment.get("SLURMD_NODENAME") or socket.gethostname()
    world_size = int(environment.get("SLURM_NTASKS", "1"))
    nodes = environment.get("SLURM_JOB_NODELIST", host)
    return Place(
        rank=int(environment.get("SLURM_PROCID", "0")),
        world_size=world_size,
        local_rank=int(environment.get("SLURM_LOCALID", "0")),
        host=host,
        first_host=first_host(nodes) if world_size > 1 else host,
        job=slurm_job(environment),
        restart=int(environment.get("SLURM_RESTART_COUNT", "0")),
    )


def slurm_job(environment: Mapping[str, str]) -> str:
    """Name of the current job, `<array>_<index>` in an array.

    SLURM_JOB_ID is not used there, because for one task it equals the array's own and would name
    the whole array.
    """
    array, index = (environment.get(f"SLURM_ARRAY_{name}") for name in ("JOB_ID", "TASK_ID"))
    return f"{array}_{index}" if array and index else environment["SLURM_JOB_ID"]


def local_places(num_ranks: int, job: str, restart: int) -> list[Place]:
    """The places of `num_ranks` processes on this machine."""
    host = socket.gethostname()
    return [
        Place(rank, num_ranks, rank, host, "localhost", job, restart) for rank in range(num_ranks)
    ]


def in_slurm() -> bool:
    """Whether this process was started by SLURM."""
    return "SLURM_JOB_ID" in os.environ
