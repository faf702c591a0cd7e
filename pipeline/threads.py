"""How many threads arithmetic takes in this process."""

import torch

MAX_THREADS = 1024
"""More than any machine is good for; with a hundred times as many torch ends the process."""


def use_threads(num_threads: int) -> None:
    """Set the number of threads for arithmetic; ValueError for one that cannot be meant."""
    if not 1 <= num_threads <= MAX_THREADS:
        raise ValueError(f"num_threads={num_threads} is not allowed; allowed: 1 to {MAX_THREADS}")
    torch.set_num_threads(num_threads)
