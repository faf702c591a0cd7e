"""Keys of the order by blocks, and the sizes that follow from them and from the data."""

from dataclasses import dataclass

from pipeline.data.block_order import BlockSizes

MAX_LANES = 64
BLOCK_BYTES = 2**20
WINDOW_MIB = 512
MIN_STEPS = 4
BLOCKS_A_WINDOW = 4


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


def block_sizes(
    config: BlocksConfig,
    num_items: int,
    item_bytes: int,
    global_batch: int,
    unit: int,
    free_bytes: int = 4 * WINDOW_MIB * 2**20,
) -> BlockSizes:
    """Sizes for `num_items` items of `item_bytes` in a batch; blocks begin at multiples of `unit`.

    `free_bytes` is the memory there is. Raises ValueError for keys that do not go together.
    """
    lanes = config.num_lanes or max(
        number for number in range(1, MAX_LANES + 1) if global_batch % number == 0
    )
    if global_batch % lanes:
        raise ValueError(f"blocks.num_lanes={lanes} must divide global_batch={global_batch}")
    lane_batch = global_batch // lanes
    least = 2 * global_batch * item_bytes
    if config.window_mib is None:
        num_bytes = max(min(WINDOW_MIB * 2**20, free_bytes // 4), MIN_STEPS * least)
    else:
        num_bytes = config.window_mib * 2**20
    if num_bytes < least:
        raise ValueError(
            f"blocks.window_mib={config.window_mib} is too little: two steps of"
            f" global_batch={global_batch} take {-(-least // 2**20)} MiB"
        )
    window = num_bytes // least * lane_batch
    if config.block_items is not None:
        most = min(window, num_items)
        if config.block_items > most:
            raise ValueError(
                f"blocks.block_items={config.block_items} is more than a lane's window of"
                f" {window} items holds, or than the {num_items} items there are"
            )
        return BlockSizes(lanes, config.block_items, window, unit)
    block = max(1, min(BLOCK_BYTES // item_bytes, window // BLOCKS_A_WINDOW, num_items))
    return BlockSizes(lanes, block // unit * unit or block, window, unit)
