"""Stopping all ranks at the same step.

A signal handler only sets a flag. The flags are combined over ranks while the next step runs, so
that no rank waits: a stop takes effect one step after a rank has reported it.
"""

from typing import Any

import torch
import torch.distributed as dist

from orbit.core.signals import StopRequest
from pipeline.training.distributed import World


class StopAgreement:
    """Tells every rank, at the same step, that one of them was asked to stop."""

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
