"""Many records, a few at a time, where each pass over them is as fast as memory."""

import math
from collections.abc import Iterator

import torch

CACHED_VALUES, GPU_VALUES = 1 << 17, 1 << 22
"""Numbers that stay in a processor's cache with what is made of them, and that keep a GPU busy."""


def slices_in_cache(values: torch.Tensor) -> Iterator[slice]:
    """Slices of the rows of (N, ...), one row at least, that cover all of them in order."""
    num = len(values)
    most = GPU_VALUES if values.is_cuda else CACHED_VALUES
    step = max(1, most // max(1, math.prod(values.shape[1:])))
    for first in range(0, num, step):
        yield slice(first, min(num, first + step))
