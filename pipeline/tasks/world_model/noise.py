"""Normal noise for the rows of a global batch: a function of seed, step and place alone."""

import torch

from pipeline.global_batch.ranks import num_ranks, rank_number


@torch.compiler.disable  # type: ignore[untyped-decorator]
def normal_rows(
    seed: int, step: int, num_rows: int, num_columns: int, device: torch.device
) -> torch.Tensor:
    """Standard normal numbers (num_rows, num_columns) for this rank's rows of a step.

    All ranks draw the whole batch's, on the CPU, and take their slice.
    """
    generator = torch.Generator().manual_seed((seed + 0x9E3779B97F4A7C15 * step) % 2**63)
    drawn = torch.randn(num_ranks() * num_rows, num_columns, generator=generator)
    first = rank_number() * num_rows
    return drawn[first : first + num_rows].to(device, non_blocking=True)
