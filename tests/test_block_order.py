"""Protects the order by blocks: a pure function of seed, epoch and step, like the uniform one.

No item comes twice in an epoch, ranks read their own lanes, a stream can begin anywhere, reads
are runs of consecutive items, and what comes out of them is shuffled nearly as well.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline.data.blocks as block_order
from orbit.core.store.reader import PairStore
from pipeline.data.batches import TrainBatches, make_train_order
from pipeline.data.blocks import BlockOrder, BlocksConfig, BlockSizes, block_sizes
from pipeline.data.order import SampleOrder


@st.composite
def orders(draw: st.DrawFn) -> BlockOrder:
    """Orders of few items, with ragged blocks, windows and lanes."""
    lanes, lane_batch = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    num_items = draw(st.integers(lanes * lane_batch, 90))
    return BlockOrder(
        seed=draw(st.integers(0, 99)),
        num_items=num_items,
        global_batch=lanes * lane_batch,
        tail=draw(st.sampled_from(["drop", "carry"])),
        num_lanes=lanes,
        block_items=draw(st.integers(1, min(num_items, 9))),
        window_items=draw(st.integers(1, 25)),
        unit=draw(st.sampled_from([1, 3])),
    )


def places(order: SampleOrder, first: int, last: int) -> list[tuple[int, int]]:
    """(epoch, item) of every place of these steps."""
    found = []
    for step in range(first, last):
        epochs, items = order.batch(step)
        assert epochs.shape == items.shape == (order.global_batch,)
        found += list(zip(epochs.tolist(), items.tolist(), strict=True))
    return found


@settings(max_examples=80)
@given(order=orders(), num_epochs=st.integers(1, 3))
def test_an_epoch_has_each_item_once(order: BlockOrder, num_epochs: int) -> None:
    """`carry` loses none; `drop` leaves out less than a batch. Boundaries are the uniform ones."""
    twin = SampleOrder(order.seed, order.num_items, order.global_batch, order.tail)
    num_steps = -(-num_epochs * order.num_items // order.global_batch)
    if order.tail == "drop":
        num_steps = order.num_steps(num_epochs)
    found = places(order, 0, num_steps)
    for epoch in range(num_epochs):
        items = [item for e, item in found if e == epoch]
        kept = order.num_items - order.num_items % order.global_batch
        assert len(set(items)) == len(items)
        assert len(items) == (kept if order.tail == "drop" else order.num_items)
        assert set(items) <= set(range(order.num_items))
    for step in range(num_steps):
        epochs, _ = order.batch(step)
        assert epochs.min() == twin.epoch_of_step(step) == order.epoch_of_step(step)
        assert order.is_epoch_end(step + 1) == twin.is_epoch_end(step + 1)


@settings(max_examples=40)
@given(order=orders(), start=st.integers(0, 40))
def test_starting_anywhere_continues_the_full_stream(order: BlockOrder, start: int) -> None:
    full = places(order, 0, start + 4)
    block_order._window_items.cache_clear()
    assert places(order, start, start + 4) == full[start * order.global_batch :]


@settings(max_examples=40)
@given(order=orders(), step=st.integers(0, 60))
def test_a_window_is_a_few_runs_of_consecutive_items_in_each_lane(
    order: BlockOrder, step: int
) -> None:
    """This is what makes reading fast: no more runs than blocks that a lane's window can touch."""
    first, last = order.window(step)
    assert first <= step < last
    assert (last - first) * order.lane_batch <= max(order.window_items, order.lane_batch)
    assert all(order.window(other) == (first, last) for other in range(first, last))
    _, items = block_order._window_items(order, first, last)
    for lane in range(order.num_lanes):
        ordered = np.sort(items[lane])
        num_runs = 1 + int((np.diff(ordered) != 1).sum())
        # One more where the circle of items is cut, and for a boundary of epochs.
        assert num_runs <= -(-len(ordered) // order.block_items) + 4


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_ranks_read_their_own_lanes_of_one_global_batch(digits_dir, world_size: int) -> None:
    reader = PairStore(digits_dir).split("train")
    order = make_train_order(reader, "stored", 5, 16, "carry", None, BlockSizes(8, 12, 24, 4))
    whole = TrainBatches(reader, order, "stored", 0, 1)
    lanes_of = np.repeat(np.arange(8), 2)
    for step in (0, 7, 100):
        parts = [
            TrainBatches(reader, order, "stored", rank, world_size).records(step)
            for rank in range(world_size)
        ]
        assert np.array_equal(np.concatenate(parts), whole.records(step))
        for rank in range(world_size):
            share = slice(rank * 16 // world_size, (rank + 1) * 16 // world_size)
            assert len(set(lanes_of[share])) == 8 // world_size


def test_epochs_cut_their_blocks_anew() -> None:
    """So that the same neighbours do not meet again and again, nor the same items drop out."""
    order = BlockOrder(0, 1000, 10, "drop", 5, 30, 60)
    neighbours, dropped = [], []
    for epoch in range(4):
        items = order.items_of_stream(epoch, np.arange(1000))
        assert np.array_equal(np.sort(items), np.arange(1000))
        neighbours.append({int(item) % 30 for item in items[:990:30]})
        dropped.append(frozenset(items[990:].tolist()))
    assert len(set(dropped)) == 4
    assert all(neighbours[0] != other for other in neighbours[1:])


def test_batches_of_sorted_classes_are_mixed_nearly_as_uniform_ones_are() -> None:
    """Ten classes one after the other: the share of each in a batch varies as if drawn from all,
    and neighbours of the file are no nearer in the order than chance has them."""
    num_items, batch = 60_000, 64
    classes = np.arange(num_items) * 10 // num_items
    sizes = BlockSizes(*block_sizes(BlocksConfig(window_mib=16), num_items, 1664, batch, 1))
    assert sizes.num_lanes * sizes.window_items < num_items / 10
    deviations, distances = {}, {}
    for name, order in (
        ("uniform", SampleOrder(1, num_items, batch, "drop")),
        ("blocks", BlockOrder(1, num_items, batch, "drop", *sizes)),
    ):
        items = np.stack([order.batch(step)[1] for step in range(order.num_steps(1))])
        counts = np.stack([(classes[items] == index).sum(1) for index in range(10)])
        deviations[name] = float(((counts - batch / 10) ** 2).mean() ** 0.5)
        step_of = np.full(num_items, -1)
        step_of[items.reshape(-1)] = np.repeat(np.arange(len(items)), batch)
        distance = np.abs(step_of[1:] - step_of[:-1])
        distances[name] = float((distance[distance >= 0] < 1).mean())
    assert deviations["blocks"] < 1.1 * deviations["uniform"]
    # Neighbours of one block are in one window, and may so meet in one batch.
    window_steps = sizes.window_items * sizes.num_lanes / batch
    assert distances["blocks"] < 2 / window_steps


def test_sizes_follow_from_the_data() -> None:
    """Lanes that many numbers of ranks divide, blocks of two MiB, windows within the budget."""
    lanes, block, window, unit = block_sizes(BlocksConfig(), 10**6, 24_592, 256, 4)
    assert lanes == 64
    assert block % 4 == unit % 4 == 0
    assert 2**20 < block * 24_592 <= 2**21
    assert 2 * lanes * window * 24_592 <= 512 * 2**20 < 2 * lanes * (window + 4) * 24_592
    # Frames that are large by themselves: single items, and room for some steps.
    assert block_sizes(BlocksConfig(), 500, 2**23, 48, 1) == BlockSizes(48, 1, 4, 1)


def test_sizes_that_cannot_be_are_refused_by_key() -> None:
    for config, match in (
        (BlocksConfig(num_lanes=7), "blocks.num_lanes=7 must divide global_batch=64"),
        (BlocksConfig(window_mib=1), r"blocks.window_mib=1 is too little.* take 4 MiB"),
        (BlocksConfig(window_mib=4, block_items=2), r"blocks.block_items=2 is more than"),
    ):
        with pytest.raises(ValueError, match=match):
            block_sizes(config, 10_000, 2**15, 64, 1)
    with pytest.raises(ValueError, match="num_lanes=0 must be positive"):
        BlocksConfig(num_lanes=0)
