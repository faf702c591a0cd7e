"""What a run can be told of its data: which pairs, in which order, read by whom.

Nothing here needs torch, so that programs which only check a configuration start at once.
"""

from dataclasses import dataclass
from typing import Literal

from orbit.core.config.limits import Count, NotNegativeInt, PositiveInt, limited

Pairs = Literal["stored", "online", "fresh"]


@dataclass(frozen=True)
@limited
class LoaderConfig:
    """`num_workers=0` reads in process; workers are for slow storage.

    `prefetch` is how many reads go ahead of the consumer, with workers or a GPU. `num_readers`
    threads read in process where the data does not fit into memory.
    """

    num_workers: NotNegativeInt = 0
    prefetch: Count = 2
    num_readers: Count = 4


@dataclass(frozen=True)
@limited
class BlocksConfig:
    """What the order by blocks needs; null takes what suits the data.

    The global batch takes as many items from each of `num_lanes` lanes, which the ranks share
    out: only so many ranks can train as divide them. `block_items` consecutive items are read
    together: about a MiB. `window_mib` is the memory for the windows of all lanes, the one that
    is used and the next: 512 MiB or a quarter of the free memory, but room for four steps in each.
    """

    num_lanes: PositiveInt | None = None
    block_items: PositiveInt | None = None
    window_mib: PositiveInt | None = None
