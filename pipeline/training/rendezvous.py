"""How the ranks of a job find each other.

Under torchrun: its own MASTER_ADDR and MASTER_PORT. Under the launcher, the
environment names a file that only this start of this job uses: the first rank
listens on a port that the operating system picks and writes it there, so no two
jobs and no two starts of one job can meet.
"""

import json
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist

from pipeline.config.user_text import parse_number
from pipeline.files.atomic import write_json
from pipeline.files.waiting import saying, wait_until
from pipeline.training.faults import ClusterFaultError

RENDEZVOUS_FILE = "ORBIT_RENDEZVOUS"
JOIN_TIMEOUT_S = "ORBIT_JOIN_TIMEOUT_S"
DEFAULT_JOIN_TIMEOUT_S = 600.0
COLLECTIVE_TIMEOUT = timedelta(minutes=10)
CONNECT_S = 5.0
HAS_AGENT_STORE = "TORCHELASTIC_USE_AGENT_STORE"
"""Set by torchrun, which is the meeting point itself: a rank need not wait for the first one."""

T = TypeVar("T")


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


def join_process_group(
    backend: str, rank: int, world_size: int, should_stop: Callable[[], bool]
) -> None:
    """Join the process group.

    Raises ClusterFaultError if not all ranks came in time, StoppedWaiting if `should_stop`
    turned true meanwhile.
    """
    wait = _Wait(rank, world_size, join_timeout_s(), should_stop)
    file = os.environ.get(RENDEZVOUS_FILE)
    if file is None:
        try:
            if os.environ.get(HAS_AGENT_STORE) != "True":
                # Nobody but torch knows how to wait here, and it does so without listening.
                timeout = timedelta(seconds=wait.timeout_s)
                with saying(f"the other ranks (rank {rank} of {world_size})"):
                    dist.init_process_group(backend, timeout=timeout)
                return
            timeout = timedelta(seconds=wait.left_s())
            store, _, _ = next(dist.rendezvous("env://", rank, world_size, timeout=timeout))
        except (dist.DistStoreError, dist.DistNetworkError) as error:
            raise ClusterFaultError(
                f"rank {rank} of {world_size} could not join the others at"
                f" {os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
                f" within {wait.timeout_s:.0f} s ({_first_line(error)})"
            ) from None
    else:
        store = _open_store(Path(file), wait)
    _wait_for_all(dist.PrefixStore("orbit", store), wait)
    dist.init_process_group(
        backend, store=store, rank=rank, world_size=world_size, timeout=COLLECTIVE_TIMEOUT
    )


class _Wait:
    """One rank's patience until all are there."""

    def __init__(
        self, rank: int, world_size: int, timeout_s: float, should_stop: Callable[[], bool]
    ) -> None:
        self.rank, self.world_size, self.timeout_s = rank, world_size, timeout_s
        self._should_stop = should_stop
        self._deadline = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """Seconds that are left, at least one."""
        return max(1.0, self._deadline - time.monotonic())

    def until(self, check: Callable[[], T], what: str) -> T:
        """What `check` returned last: something true, or its answer when time was up."""
        return wait_until(
            check,
            f"{what} (rank {self.rank} of {self.world_size})",
            timeout_s=self.left_s(),
            should_stop=self._should_stop,
        )


def _open_store(file: Path, wait: _Wait) -> dist.TCPStore:
    host = os.environ.get("MASTER_ADDR", "localhost")
    if wait.rank == 0:
        store = dist.TCPStore(host, 0, wait.world_size, is_master=True, wait_for_workers=False)
        write_json(file, {"host": host, "port": store.port})
        return store
    address = wait.until(lambda: _read_address(file), f"the first rank's rendezvous on {host}")
    if address is None:
        raise ClusterFaultError(
            f"rank {wait.rank} of {wait.world_size}: the first rank did not open a rendezvous"
            f" on {host}"
        )
    causes: list[str] = []

    def connect() -> dist.TCPStore | None:
        # In short tries, for nothing is heard meanwhile.
        try:
            return dist.TCPStore(
                address["host"],
                address["port"],
                wait.world_size,
                wait_for_workers=False,
                timeout=timedelta(seconds=min(CONNECT_S, wait.left_s())),
            )
        except (dist.DistStoreError, dist.DistNetworkError) as error:
            causes[:] = [_first_line(error)]
            return None

    where = f"{address['host']}:{address['port']}"
    reached = wait.until(connect, f"the first rank at {where}")
    if reached is None:
        raise ClusterFaultError(
            f"rank {wait.rank} of {wait.world_size} cannot reach the first rank at {where}"
            f" ({causes[0]})"
        )
    reached.set_timeout(timedelta(seconds=wait.left_s()))
    return reached


def _read_address(file: Path) -> dict[str, Any] | None:
    try:
        address: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return address


def _wait_for_all(store: dist.Store, wait: _Wait) -> None:
    num_joined = 0

    def all_are_there() -> bool:
        nonlocal num_joined
        try:
            num_joined = store.add("joined", 0 if num_joined else 1)
        except (dist.DistStoreError, dist.DistNetworkError) as error:
            raise ClusterFaultError(
                f"rank {wait.rank} lost the first rank while joining ({_first_line(error)})"
            ) from None
        return num_joined >= wait.world_size

    if not wait.until(all_are_there, "the other ranks"):
        raise ClusterFaultError(
            f"only {num_joined} of {wait.world_size} ranks joined within {wait.timeout_s:.0f} s"
            f" (seen by rank {wait.rank})"
        )


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
