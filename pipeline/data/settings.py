"""What a run can be told of its data: which pairs, in which order, read by whom.

Nothing here needs torch, so that programs which only check a configuration start at once.
"""

from dataclasses import dataclass
from typing import Literal

Pairs = Literal["stored", "online", "fresh"]


@dataclass(frozen=True)
class LoaderConfig:
    """`num_workers=0` reads in process; workers are for slow storage.

    `prefetch` is how many reads go ahead of the consumer, with workers or a GPU. `num_readers`
    threads read in process where the data does not fit into memory.
    """

    num_workers: int = 0
    prefetch: int = 2
    num_readers: int = 4

    def __post_init__(self) -> None:
        if self.num_workers < 0:
            raise ValueError(f"num_workers={self.num_workers} must not be negative")
        if self.prefetch < 1:
            raise ValueError(f"prefetch={self.prefetch} must be at least 1")
        if self.num_readers < 1:
            raise ValueError(f"num_readers={self.num_readers} must be at least 1")


@dataclass(frozen=True)
class BlocksConfig:
    """What the order by blocks needs; null takes what suits the data.

    The global batch takes as many items from each of `num_lanes` lanes, which the ranks share
    out: only so many ranks can train as divide them. `block_items` consecutive items are read
    together: about a MiB. `window_mib` is the memory for the windows of all lanes, the one that
    is used and the next: 512 MiB or a quarter of the free memory, but room for four steps in each.
    """

    num_lanes: int | None = None
    block_items: int | None = None
    window_mib: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be positive")
