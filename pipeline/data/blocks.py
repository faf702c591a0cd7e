"""The order by blocks, for data beyond memory: its sizes, and the order of items.

The items of an epoch form a circle, which is cut into blocks of consecutive items, starting at a
drawn item. The shuffled blocks form a stream, which is divided into equal parts, one for each lane.
A lane goes through its part window by window and shuffles the items of each window. A global batch
takes the same number of items from every lane, so that for any world size that divides the number
of lanes each rank reads only its own lanes. Everything is a function of (seed, epoch, step); there
is no state.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from pipeline.data.order import NUM_STORED, SampleOrder, permuted, round_keys
from pipeline.data.settings import BlocksConfig

BLOCK_STREAM, SHIFT_STREAM, WINDOW_STREAM = 13, 14, 15


class BlockSizes(NamedTuple):
    """The sizes of an order by blocks, for `BlockOrder`."""

    num_lanes: int
    block_items: int
    window_items: int
    unit: int = 1


@dataclass(frozen=True)
class BlockOrder(SampleOrder):
    """Order of training items by blocks of `block_items`, in windows of `window_items` a lane.

    Blocks start at multiples of `unit` items. `tail` has the meaning that it has for `SampleOrder`:
    `drop` leaves out the last items of each lane. Raises ValueError if the lanes do not divide the
    global batch, and for impossible sizes.
    """

    num_lanes: int
    block_items: int
    window_items: int
    unit: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.global_batch % self.num_lanes:
            raise ValueError(
                f"blocks.num_lanes={self.num_lanes} must divide global_batch={self.global_batch}"
            )
        if not 1 <= self.block_items <= self.num_items:
            raise ValueError(
                f"blocks.block_items={self.block_items} is no size of a block of"
                f" {self.num_items} items"
            )

    @property
    def lane_batch(self) -> int:
        """Items that a step takes from each lane."""
        return self.global_batch // self.num_lanes

    def window(self, step: int) -> tuple[int, int]:
        """First and last step (exclusive) of the steps whose items are read together."""
        epoch = self.epoch_of_step(step)
        first, last = self._first_step(epoch), self._first_step(epoch + 1)
        num_steps = last - first
        num_windows = -(-num_steps // max(1, self.window_items // self.lane_batch))
        index = ((step - first + 1) * num_windows - 1) // num_steps
        edges = (index * num_steps // num_windows, (index + 1) * num_steps // num_windows)
        return first + edges[0], first + edges[1]

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Epoch and item number, both (global_batch,) int64, of every position, lane after lane."""
        first, last = self.window(step)
        epochs, items = _window_items(self, first, last)
        share = slice((step - first) * self.lane_batch, (step - first + 1) * self.lane_batch)
        return epochs[:, share].reshape(-1), items[:, share].reshape(-1)

    def items_of_stream(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        """The items at these positions of an epoch's stream of shuffled blocks."""
        num_blocks = self.num_items // self.block_items
        places, within = np.divmod(positions, self.block_items)
        # The items after the last whole block come last; the drawn offset decides which they are.
        blocks = np.where(places < num_blocks, places, 0)
        if num_blocks <= NUM_STORED:
            blocks = _block_permutation(self.seed, epoch, num_blocks)[blocks]
        else:
            keys = round_keys(self.seed, BLOCK_STREAM, epoch)
            blocks = permuted(blocks.ravel(), num_blocks, keys).reshape(blocks.shape)
        blocks = np.where(places < num_blocks, blocks, num_blocks)
        shifted = blocks * self.block_items + within + self._shift(epoch)
        return np.asarray(shifted % self.num_items)

    def _shift(self, epoch: int) -> int:
        rng = np.random.default_rng([self.seed, SHIFT_STREAM, epoch])
        return self.unit * int(rng.integers(max(1, self.num_items // self.unit)))

    def _first_step(self, epoch: int) -> int:
        """The first step that starts in an epoch."""
        if self.tail == "drop":
            return epoch * (self.num_items // self.global_batch)
        return -(-epoch * self.num_items // self.global_batch)

    def lane_starts(self, epoch: int) -> np.ndarray:
        """Where each lane's part of an epoch starts, counted from the lane's first item; (L,).

        With `carry` this is the number of earlier items in the lane. If the lanes do not divide the
        epoch, their parts differ by one item, and the lanes take turns in having the longer ones.
        """
        lanes = np.arange(self.num_lanes)
        if self.tail == "drop":
            return np.full_like(lanes, self._first_step(epoch) * self.lane_batch)
        return (epoch * self.num_items + lanes) // self.num_lanes

    def stream_starts(self, epoch: int) -> np.ndarray:
        """Where each lane's part starts in the epoch's stream, (L,)."""
        if self.tail == "drop":
            return np.arange(self.num_lanes) * self.num_items // self.num_lanes
        lengths = self.lane_starts(epoch + 1) - self.lane_starts(epoch)
        return np.asarray(np.cumsum(lengths) - lengths)


@lru_cache(maxsize=4)
def _block_permutation(seed: int, epoch: int, num_blocks: int) -> np.ndarray:
    return np.random.default_rng([seed, BLOCK_STREAM, epoch]).permutation(num_blocks)


@lru_cache(maxsize=3)
def _window_items(order: BlockOrder, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and items of every lane in these steps of one window, both (L, steps x lane_batch)."""
    positions = np.arange(first * order.lane_batch, last * order.lane_batch)
    epoch = order.epoch_of_step(first)
    starts, ends = order.lane_starts(epoch), order.lane_starts(epoch + 1)
    is_next = positions >= ends[:, None]
    epochs = np.where(is_next, epoch + 1, epoch)
    within = positions - np.where(is_next, ends[:, None], starts[:, None])
    for lane in range(order.num_lanes):
        # Items of two epochs in one window are not mixed.
        num = int(is_next[lane].argmax()) if is_next[lane, -1] else len(positions)
        for part in (slice(0, num), slice(num, None)):
            if len(values := within[lane, part]) > 1:
                key = [order.seed, WINDOW_STREAM, int(epochs[lane, part][0]), lane, int(values[0])]
                within[lane, part] = np.random.default_rng(key).permutation(values)
    items = np.empty_like(within)
    for each in (epoch, epoch + 1):
        chosen = epochs == each
        if chosen.any():
            stream = (order.stream_starts(each)[:, None] + within)[chosen]
            items[chosen] = order.items_of_stream(each, stream)
    for values in (epochs, items):
        values.flags.writeable = False
    return epochs, items


MAX_LANES = 64
BLOCK_BYTES = 2**21
WINDOW_MIB = 512
MIN_STEPS = 4
BLOCKS_A_WINDOW = 2


def block_sizes(
    config: BlocksConfig,
    num_items: int,
    item_bytes: int,
    global_batch: int,
    unit: int,
    free_bytes: int = 4 * WINDOW_MIB * 2**20,
) -> BlockSizes:
    """Sizes for `num_items` items of `item_bytes` in a batch; blocks start at multiples of `unit`.

    `free_bytes` is the free memory. Raises ValueError for keys that cannot be combined.
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
