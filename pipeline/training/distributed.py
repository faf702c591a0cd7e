"""Ranks: joining the process group, speaking with one voice, small agreements.

Started by torchrun or the launcher (RANK, WORLD_SIZE, LOCAL_RANK in the environment)
or alone. Control messages travel over a gloo group on the CPU, so that agreeing on
something never waits for the GPU.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from pipeline.config.program import EXIT_USER_ERROR, ExitWithCode
from pipeline.training.rendezvous import join_process_group

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among its peers."""

    rank: int
    world_size: int
    device: torch.device
    control: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes files and prints."""
        return self.rank == 0

    def first_decides(self, decide: Callable[[], T]) -> T:
        """Run `decide` on the first rank and hand its result to all.

        If it raises there, the first rank's error stands and the others exit quietly.
        """
        if self.world_size == 1:
            return decide()
        message: list[Any] = [None, None]
        error: BaseException | None = None
        if self.is_first:
            try:
                message[1] = decide()
            except BaseException as raised:
                error, message[0] = raised, "failed"
        dist.broadcast_object_list(message, src=0, group=self.control)
        if error is not None:
            raise error
        if message[0] is not None:
            raise ExitWithCode("", EXIT_USER_ERROR)
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
def join_world(device: str, patience: timedelta | None = None) -> Iterator[World]:
    """Join the process group that the environment describes, and leave it at the end.

    `patience` is how long ranks wait for one that is at work alone, if longer than usual.

    Raises ValueError if a GPU is asked for and there is none, ClusterFaultError if
    not all ranks came.
    """
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", 0)))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world_size == 1:
        yield World(0, 1, chosen)
        return
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    join_process_group(backend, rank, world_size)
    try:
        yield World(rank, world_size, chosen, dist.new_group(timeout=patience, backend="gloo"))
    finally:
        dist.destroy_process_group()


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
