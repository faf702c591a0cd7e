"""The place of a process in a job: its rank, the world size, and the attempt."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from launch.cluster.slurm import first_host


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
