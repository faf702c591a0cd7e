"""How the ranks of a job find each other.

Under torchrun: its own MASTER_ADDR and MASTER_PORT. Under the launcher, the
environment names a file that only this start of this job uses: the first rank
listens on a port that the operating system picks and writes it there, so no two
jobs and no two starts of one job can meet.
"""

import json
import os
import time
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from pipeline.config.user_text import parse_number
from pipeline.files.atomic import write_json
from pipeline.training.faults import ClusterFaultError

RENDEZVOUS_FILE = "ORBIT_RENDEZVOUS"
JOIN_TIMEOUT_S = "ORBIT_JOIN_TIMEOUT_S"
DEFAULT_JOIN_TIMEOUT_S = 600.0
COLLECTIVE_TIMEOUT = timedelta(minutes=10)
POLL_S = 0.2


def join_timeout_s() -> float:
    """Seconds to wait for all ranks, from the environment or ten minutes.

    Raises ValueError naming the variable unless it holds a positive number.
    """
    text = os.environ.get(JOIN_TIMEOUT_S)
    if text is None:
        return DEFAULT_JOIN_TIMEOUT_S
    timeout_s = parse_number(text)
    if timeout_s is None or timeout_s <= 0:
        raise ValueError(f"{JOIN_TIMEOUT_S}={text} must be a positive number of seconds")
    return timeout_s


def join_process_group(backend: str, rank: int, world_size: int) -> None:
    """Join the process group; ClusterFaultError if not all ranks came in time."""
    timeout_s = join_timeout_s()
    file = os.environ.get(RENDEZVOUS_FILE)
    if file is None:
        try:
            dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
        except (dist.DistStoreError, dist.DistNetworkError) as error:
            raise ClusterFaultError(
                f"rank {rank} of {world_size} could not join the others at"
                f" {os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
                f" within {timeout_s:.0f} s ({_first_line(error)})"
            ) from None
        return
    deadline = time.monotonic() + timeout_s
    store = _open_store(Path(file), rank, world_size, deadline)
    _wait_for_all(store, rank, world_size, deadline, timeout_s)
    dist.init_process_group(
        backend, store=store, rank=rank, world_size=world_size, timeout=COLLECTIVE_TIMEOUT
    )


def _open_store(file: Path, rank: int, world_size: int, deadline: float) -> dist.TCPStore:
    host = os.environ.get("MASTER_ADDR", "localhost")
    if rank == 0:
        store = dist.TCPStore(host, 0, world_size, is_master=True, wait_for_workers=False)
        write_json(file, {"host": host, "port": store.port})
        return store
    while not file.exists():
        if time.monotonic() > deadline:
            raise ClusterFaultError(
                f"rank {rank} of {world_size}: the first rank did not open a rendezvous on {host}"
            )
        time.sleep(POLL_S)
    address = json.loads(file.read_text())
    left = timedelta(seconds=max(1.0, deadline - time.monotonic()))
    try:
        return dist.TCPStore(
            address["host"], address["port"], world_size, wait_for_workers=False, timeout=left
        )
    except (dist.DistStoreError, dist.DistNetworkError) as error:
        raise ClusterFaultError(
            f"rank {rank} of {world_size} cannot reach the first rank at"
            f" {address['host']}:{address['port']} ({_first_line(error)})"
        ) from None


def _wait_for_all(
    store: dist.TCPStore, rank: int, world_size: int, deadline: float, timeout_s: float
) -> None:
    num_joined = store.add("joined", 1)
    while num_joined < world_size:
        if time.monotonic() > deadline:
            raise ClusterFaultError(
                f"only {num_joined} of {world_size} ranks joined within {timeout_s:.0f} s"
                f" (seen by rank {rank})"
            )
        time.sleep(POLL_S)
        try:
            num_joined = store.add("joined", 0)
        except (dist.DistStoreError, dist.DistNetworkError) as error:
            raise ClusterFaultError(
                f"rank {rank} lost the first rank while joining ({_first_line(error)})"
            ) from None


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
