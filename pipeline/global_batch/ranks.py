"""Small collectives over the ranks of the process group, plain where there is only one.

All of them work with gloo (CPU) and nccl (GPU), and leave every rank with the same
bits. torch.compile does not look into them: a compiled model on several ranks has a
break in its graph here, on one rank it has none.
"""

import torch
import torch.distributed as dist


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
