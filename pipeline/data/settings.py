"""Settings of a run's data: pairs, order, and loader.

Nothing here imports torch, so that programs which only check a configuration start at once.
"""

from dataclasses import dataclass
from typing import Literal

from orbit.core.config.limits import Count, NotNegativeInt, PositiveInt, limited

Pairs = Literal["stored", "online", "fresh"]


@dataclass(frozen=True)
@limited
class LoaderConfig:
    """`num_workers=0` reads in process; workers are for slow storage.

    `prefetch` is how many reads are done ahead of the consumer, with workers or a GPU.
    `num_readers` threads read in process if the data does not fit into memory: by default 8 for
    blocks, whose reads are long, and 4 for single records, which cost more processor time.
    """

    num_workers: NotNegativeInt = 0
    prefetch: Count = 2
    num_readers: Count | None = None


@dataclass(frozen=True)
@limited
class BlocksConfig:
    """Sizes of the order by blocks; null chooses a size that suits the data.

    The global batch takes the same number of items from each of `num_lanes` lanes, which are
    divided among the ranks: the world size must divide their number. `block_items` consecutive
    items are read together: by default two MiB of a batch, or half of a lane's window. `window_mib`
    is the memory for the windows of all lanes, the current and the next one: by default 512 MiB or
    a quarter of the free memory, but at least four steps in each.
    """

    num_lanes: PositiveInt | None = None
    block_items: PositiveInt | None = None
    window_mib: PositiveInt | None = None
