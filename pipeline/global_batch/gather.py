"""The rows of all ranks as one tensor, with gradients."""

from typing import Any

import torch
import torch.distributed as dist

from pipeline.compiling import not_compiled
from pipeline.global_batch.ranks import num_ranks, stack_of_ranks


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
