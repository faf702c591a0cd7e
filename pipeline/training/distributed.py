"""The ranks of a job: how they find each other, and what they do together.

torchrun sets MASTER_ADDR and MASTER_PORT. The launcher names, in the environment, a file that only
this attempt of this job uses: the first rank listens on a port that the operating system chooses
and writes it there, so that no two jobs and no two attempts of one job can meet.

Started by torchrun or the launcher (RANK, WORLD_SIZE, LOCAL_RANK in the environment) or alone.
Control messages use a gloo group on the CPU, so that they never wait for the GPU.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from orbit.core.config.program import (
    EXIT_CLUSTER_FAULT,
    EXIT_STOPPED,
    EXIT_USER_ERROR,
    ExitWithCode,
)
from orbit.core.files.atomic import write_json
from orbit.core.files.waiting import FILE_SYSTEM_HICCUPS, StoppedWaiting, saying, wait_until
from orbit.core.printing import rank_of_environment, world_size_of_environment
from orbit.core.signals import StopRequest
from orbit.core.user_text import parse_integer, parse_number
from pipeline.arithmetic import exact_float32
from pipeline.data.packing import Batch
from pipeline.methods.interface import Evaluation

EXIT_INTERRUPTED = 130
LOST_CONNECTION = (
    "connection closed by peer",
    "connection reset by peer",
    "broken pipe",
    "connection refused",
    "gloo/transport",
    "socket timeout",
    "nccl error",
    "uncorrectable ecc",
    "worker of the loader was lost",
)


class FirstRankFailedError(ExitWithCode):
    """Ends a rank because the first one failed, which reports the cause itself."""


class ClusterFaultError(Exception):
    """A fault outside this program: another rank, a node, the network, a file system."""


@contextmanager
def cluster_faults_end_the_program() -> Iterator[None]:
    """Turn a fault of the cluster into one line and exit code 78."""
    try:
        yield
    except Exception as error:
        if not is_cluster_fault(error):
            raise
        line = " ".join(str(error).split())[:300]
        raise ExitWithCode(f"fault of the cluster: {line}", EXIT_CLUSTER_FAULT) from error


def exit_code_of(error: BaseException) -> int:
    """The exit code of a program that ends with this error."""
    if isinstance(error, ExitWithCode):
        return error.code
    if isinstance(error, StoppedWaiting):
        return EXIT_STOPPED
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return EXIT_CLUSTER_FAULT if is_cluster_fault(error) else EXIT_USER_ERROR


def is_cluster_fault(error: BaseException) -> bool:
    """Whether running again, elsewhere or later, may help."""
    if isinstance(error, ClusterFaultError | dist.DistNetworkError | dist.DistStoreError):
        return True
    if isinstance(error, OSError):
        return error.errno in FILE_SYSTEM_HICCUPS
    if isinstance(error, dist.DistBackendError | torch.AcceleratorError | RuntimeError):
        text = str(error).lower()
        return any(pattern in text for pattern in LOST_CONNECTION)
    return False


RENDEZVOUS_FILE = "ORBIT_RENDEZVOUS"
JOIN_TIMEOUT_S = "ORBIT_JOIN_TIMEOUT_S"
DEFAULT_JOIN_TIMEOUT_S = 600.0
COLLECTIVE_TIMEOUT = timedelta(minutes=10)
CONNECT_S = 5.0
HAS_AGENT_STORE = "TORCHELASTIC_USE_AGENT_STORE"
"""Set by torchrun, whose agent runs the store, so that a rank need not wait for the first one."""

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

    Raises ClusterFaultError if not all ranks join in time, StoppedWaiting if `should_stop` turns
    true meanwhile.
    """
    wait = _Wait(rank, world_size, join_timeout_s(), should_stop)
    file = os.environ.get(RENDEZVOUS_FILE)
    if file is None:
        try:
            if os.environ.get(HAS_AGENT_STORE) != "True":
                # Only torch can wait here, and it does not react to signals.
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
    """The time that one rank waits for all others."""

    def __init__(
        self, rank: int, world_size: int, timeout_s: float, should_stop: Callable[[], bool]
    ) -> None:
        self.rank, self.world_size, self.timeout_s = rank, world_size, timeout_s
        self._should_stop = should_stop
        self._deadline = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """The remaining seconds, at least one."""
        return max(1.0, self._deadline - time.monotonic())

    def until(self, check: Callable[[], T], what: str) -> T:
        """The last result of `check`: a true value, or the value at the end of the time."""
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
        # In short tries, because signals are not handled meanwhile.
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


CONTROL_TIMEOUT = timedelta(hours=1)
"""How long other ranks wait while the first one writes or decides. A rank that ends is noticed at
once, by its connection."""


@dataclass(frozen=True)
class World:
    """This process in the process group."""

    rank: int
    world_size: int
    device: torch.device
    control: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes files and prints."""
        return self.rank == 0

    def first_decides(self, decide: Callable[[], T]) -> T:
        """Run `decide` on the first rank and send its result to all.

        If it raises there, the first rank raises its error, and the others end with the same exit
        code and a line that says so.
        """
        if self.world_size == 1:
            return decide()
        message: list[Any] = [None, None]
        if self.is_first:
            try:
                message[1] = decide()
            except BaseException as error:
                message[0] = exit_code_of(error)
                # Whatever happens to the others, this is the cause.
                with contextlib.suppress(RuntimeError):
                    dist.broadcast_object_list(message, src=0, group=self.control)
                raise
        dist.broadcast_object_list(message, src=0, group=self.control)
        if message[0] is not None:
            raise FirstRankFailedError(
                "ended because rank 0 failed; its message says why", message[0]
            )
        result: T = message[1]
        return result

    def all_gather(self, values: torch.Tensor) -> torch.Tensor:
        """A CPU tensor of every rank, stacked by rank: (W, ...)."""
        if self.world_size == 1:
            return values.unsqueeze(0)
        gathered = [torch.empty_like(values) for _ in range(self.world_size)]
        dist.all_gather(gathered, values, group=self.control)
        return torch.stack(gathered)

    def all_reduce_sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over ranks, as a CPU tensor, added in rank order."""
        return self.all_gather(values.cpu()).sum(0)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.world_size > 1:
            dist.barrier(group=self.control)


@contextmanager
def join_world(device: str, should_stop: Callable[[], bool] = lambda: False) -> Iterator[World]:
    """Join the process group that the environment describes, and leave it at the end.

    Raises ValueError if a GPU is requested and there is none, ClusterFaultError if not all ranks
    join, StoppedWaiting if `should_stop` turns true before they do.
    """
    rank, world_size = rank_of_environment(), world_size_of_environment()
    chosen = choose_device(device, _local_rank(world_size))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world_size == 1:
        yield World(0, 1, chosen)
        return
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    join_process_group(backend, rank, world_size, should_stop)
    try:
        control = dist.new_group(backend="gloo", timeout=CONTROL_TIMEOUT)
        yield World(rank, world_size, chosen, control)
    finally:
        dist.destroy_process_group()


def _local_rank(world_size: int) -> int:
    """This rank's number on its node; ValueError if the environment gives an invalid one."""
    if world_size == 1:
        return 0
    text = os.environ.get("LOCAL_RANK", "0")
    number = parse_integer(text)
    if number is None or number < 0:
        raise ValueError(f"LOCAL_RANK={text} in the environment is not a rank of a node")
    return number


def choose_device(name: str, local_rank: int) -> torch.device:
    """The device of a rank: its own GPU, or the CPU. `auto` prefers a GPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda, but torch sees no GPU here; allowed: auto, cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise ValueError(
            f"local rank {local_rank} has no GPU of its own: {torch.cuda.device_count()} here"
        )
    return torch.device("cuda", local_rank)


class StopAgreement:
    """Tells every rank, at the same step, that one of them was asked to stop.

    A signal handler only sets a flag. The flags are combined over ranks while the next step runs,
    so that no rank waits: a stop takes effect one step after a rank has reported it.
    """

    def __init__(self, request: StopRequest, world: World) -> None:
        self._request, self._world = request, world
        self._flag = torch.zeros(1, dtype=torch.int32)
        self._pending: Any = None

    def poll(self) -> bool:
        """Call once after every step, on every rank: whether to stop now."""
        if self._world.world_size == 1:
            return self._request.signal_name is not None
        if self._settle():
            return True
        self._flag.fill_(int(self._request.signal_name is not None))
        self._pending = dist.all_reduce(
            self._flag, dist.ReduceOp.MAX, group=self._world.control, async_op=True
        )
        return False

    def finish(self) -> None:
        """Complete the last agreement, on every rank, before leaving the process group."""
        self._settle()

    def _settle(self) -> bool:
        if self._pending is None:
            return False
        self._pending.wait()
        self._pending = None
        return bool(self._flag.item())


@exact_float32()
@torch.no_grad()
def evaluate(evaluation: Evaluation, batches: Iterable[Batch], world: World) -> dict[str, float]:
    """Metrics of a whole split; every rank evaluates its share of the batches and returns all
    metrics.

    Runs in float32, without TF32, whatever the training precision.
    """
    for batch in batches:
        evaluation.update(batch)
    return evaluation.metrics(world.all_reduce_sum(evaluation.sums()))
