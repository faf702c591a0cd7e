"""Collectives and draws over the ranks of the process group, plain where there is only one.

All of them work with gloo (CPU) and nccl (GPU), and leave every rank with the same
bits. torch.compile does not look into them: a compiled model on several ranks has a
break in its graph here, on one rank it has none.

All ranks draw the whole batch's on the CPU and take their slice, so that the numbers do
not depend on the rank count or the device.
"""

from typing import Any

import torch
import torch.distributed as dist

from pipeline.compiling import not_compiled


def num_ranks() -> int:
    """Ranks of the process group, 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank_number() -> int:
    """This process's rank, 0 without a process group."""
    return dist.get_rank() if num_ranks() > 1 else 0


def stack_of_ranks(values: torch.Tensor) -> torch.Tensor:
    """A tensor of the same shape on every rank, stacked in rank order: (W, ...)."""
    values = values.contiguous()
    gathered = [torch.empty_like(values) for _ in range(num_ranks())]
    dist.all_gather(gathered, values)
    return torch.stack(gathered)


def sum_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over ranks, added in rank order."""
    return stack_of_ranks(values).sum(0)


@not_compiled
def normal_rows(
    seed: int, step: int, num_rows: int, num_columns: int, device: torch.device
) -> torch.Tensor:
    """Standard normal numbers (num_rows, num_columns) for this rank's rows of a step."""
    drawn = torch.randn(num_ranks() * num_rows, num_columns, generator=_generator(seed, step))
    return _own_rows(drawn, num_rows, device)


def normal_numbers(
    seed: int, step: int, num_rows: int, num_columns: int, device: torch.device
) -> torch.Tensor:
    """Standard normal numbers (num_rows, num_columns), the same on every rank."""
    drawn = torch.randn(num_rows, num_columns, generator=_generator(seed, step))
    return drawn.to(device, non_blocking=True)


@not_compiled
def uniform_rows(
    seed: int, step: int, num_rows: int, num_columns: int, device: torch.device
) -> torch.Tensor:
    """Uniform numbers in [0, 1), (num_rows, num_columns), for this rank's rows of a step."""
    drawn = torch.rand(num_ranks() * num_rows, num_columns, generator=_generator(seed, step))
    return _own_rows(drawn, num_rows, device)


def _generator(seed: int, step: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed + 0x9E3779B97F4A7C15 * step) % 2**63)


def _own_rows(drawn: torch.Tensor, num_rows: int, device: torch.device) -> torch.Tensor:
    first = rank_number() * num_rows
    return drawn[first : first + num_rows].to(device, non_blocking=True)


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """Rows (B, ...) of every rank, in rank order: (W * B, ...); every rank has as many.

    The global batch's places are contiguous slices in rank order, so the result is the
    global batch in its own order. The gradient of a rank's rows is the sum over all ranks
    of what they make of them. On one rank the rows themselves come back.
    """
    if num_ranks() == 1:
        return rows
    gathered: torch.Tensor = _gather(rows)
    return gathered


@not_compiled
def _gather(rows: torch.Tensor) -> Any:
    return _GatherRows.apply(rows)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        ctx.num_rows = len(rows)
        return stack_of_ranks(rows).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        (gradient,) = gradients
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        first = dist.get_rank() * ctx.num_rows
        return total[first : first + ctx.num_rows]
