"""Random numbers for the rows of a global batch: functions of seed, step and place alone.

All ranks draw the whole batch's on the CPU and take their slice, so that the numbers do
not depend on the rank count or the device.
"""

import torch

from pipeline.compiling import not_compiled
from pipeline.global_batch.ranks import num_ranks, rank_number


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
