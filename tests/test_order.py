"""Protects the sample order: a pure function of seed, epoch, step, batch and record count.

No item comes twice in an epoch, ranks share one global batch, a stream can begin
anywhere, and the draws of the group element belong to the item, not to the batch.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit.core.store.reader import PairStore
from pipeline.data.batches import TrainBatches, make_train_order
from pipeline.data.order import SampleOrder, draw_choices, epoch_permutation, rank_slice


def sizes() -> st.SearchStrategy[tuple[int, int]]:
    """(number of items, global batch) with at least one batch an epoch."""
    return st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))


def stream(order: SampleOrder, first: int, last: int) -> list[tuple[int, int]]:
    """(epoch, item) of every place of these steps."""
    places = []
    for step in range(first, last):
        epochs, items = order.batch(step)
        assert epochs.shape == items.shape == (order.global_batch,)
        assert items.dtype == np.int64
        places += list(zip(epochs.tolist(), items.tolist(), strict=True))
    return places


@given(seed=st.integers(0, 2**40), epoch=st.integers(0, 10**6), num=st.integers(1, 300))
def test_each_epoch_is_a_permutation(seed: int, epoch: int, num: int) -> None:
    order = epoch_permutation(seed, epoch, num)
    assert np.array_equal(np.sort(order), np.arange(num))
    with pytest.raises(ValueError):
        order[0] = 0


def test_epochs_and_seeds_are_ordered_differently() -> None:
    orders = {epoch_permutation(s, e, 50).tobytes() for s in range(3) for e in range(5)}
    assert len(orders) == 15


@settings(max_examples=60)
@given(size=sizes(), seed=st.integers(0, 99), epochs=st.integers(1, 4))
def test_drop_gives_whole_batches_without_repetition(
    size: tuple[int, int], seed: int, epochs: int
) -> None:
    num, batch = size
    order = SampleOrder(seed, num, batch, "drop")
    assert order.num_steps(epochs) == epochs * (num // batch)
    for epoch in range(epochs):
        first = epoch * order.steps_per_epoch()
        places = stream(order, first, first + order.steps_per_epoch())
        assert {e for e, _ in places} == {epoch}
        items = [item for _, item in places]
        assert len(set(items)) == len(items) == num // batch * batch
        assert set(items) <= set(range(num))


@settings(max_examples=60)
@given(size=sizes(), seed=st.integers(0, 99), epochs=st.integers(1, 4))
def test_carry_loses_nothing_and_repeats_nothing(
    size: tuple[int, int], seed: int, epochs: int
) -> None:
    num, batch = size
    order = SampleOrder(seed, num, batch, "carry")
    enough = -(-epochs * num // batch)
    places = stream(order, 0, enough)
    by_epoch = [[item for e, item in places if e == epoch] for epoch in range(epochs)]
    for items in by_epoch:
        assert sorted(items) == list(range(num))
    assert [e for e, _ in places] == sorted(e for e, _ in places)
    assert order.num_steps(epochs) == epochs * num // batch


@settings(max_examples=40)
@given(size=sizes(), tail=st.sampled_from(["drop", "carry"]), start=st.integers(0, 30))
def test_starting_anywhere_continues_the_full_stream(
    size: tuple[int, int], tail: str, start: int
) -> None:
    full = stream(SampleOrder(3, *size, tail), 0, start + 5)
    epoch_permutation.cache_clear()
    assert stream(SampleOrder(3, *size, tail), start, start + 5) == full[start * size[1] :]


@settings(max_examples=40)
@given(size=sizes(), tail=st.sampled_from(["drop", "carry"]))
def test_step_counts_agree_with_the_stream(size: tuple[int, int], tail: str) -> None:
    order = SampleOrder(0, *size, tail)
    for step in range(12):
        assert order.epoch_of_step(step) == stream(order, step, step + 1)[0][0]
        assert order.epochs_done(step) <= order.epoch_of_step(step)
        assert order.is_epoch_end(step + 1) == (
            order.epochs_done(step + 1) > order.epochs_done(step)
        )
    assert not order.is_epoch_end(0)
    for epochs in (1, 2, 3):
        assert order.epochs_done(order.num_steps(epochs)) <= epochs
        assert order.epochs_done(order.num_steps(epochs) + 1) >= epochs


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
@pytest.mark.parametrize("pairs", ["stored", "online"])
def test_ranks_together_read_the_global_batch(digits_dir, world_size: int, pairs: str) -> None:
    reader = PairStore(digits_dir).split("train")
    order = make_train_order(reader, pairs, 5, 16, "carry")
    whole = TrainBatches(reader, order, pairs, 0, 1)
    for step in (0, 7, 100):
        parts = [
            TrainBatches(reader, order, pairs, rank, world_size).records(step)
            for rank in range(world_size)
        ]
        assert {len(part) for part in parts} == {16 // world_size}
        assert np.array_equal(np.concatenate(parts), whole.records(step))


def test_online_epoch_takes_each_source_once_with_a_drawn_element(digits_dir) -> None:
    reader = PairStore(digits_dir).split("train")
    assert reader.num_records == 4 * reader.num_sources
    order = make_train_order(reader, "online", 0, 20, "drop")
    batches = TrainBatches(reader, order, "online", 0, 1)
    epochs = []
    for epoch in range(3):
        steps = range(epoch * order.steps_per_epoch(), (epoch + 1) * order.steps_per_epoch())
        records = np.concatenate([batches.records(step) for step in steps])
        sources = reader.read_column("source", records)
        assert np.array_equal(np.sort(records // 4), np.arange(reader.num_sources))
        assert len(np.unique(sources)) > 1
        turns = reader.read(records).action[:, 0]
        assert set(np.unique(turns)) == {0.0, 1.0, 2.0, 3.0}
        epochs.append(dict(zip(records // 4, turns, strict=True)))
    # Another epoch draws anew.
    assert epochs[0] != epochs[1] != epochs[2]


@settings(max_examples=30)
@given(seed=st.integers(0, 99), tail=st.sampled_from(["drop", "carry"]), batch=st.integers(1, 37))
def test_draws_do_not_depend_on_the_batch(seed: int, tail: str, batch: int) -> None:
    drawn: dict[tuple[int, int], int] = {}
    for size in (batch, 37):
        order = SampleOrder(seed, 37, size, tail)
        for step in range(order.num_steps(2)):
            epochs, items = order.batch(step)
            choices = draw_choices(seed, epochs, items, 37, 4)
            for place in zip(epochs.tolist(), items.tolist(), choices.tolist(), strict=True):
                assert drawn.setdefault(place[:2], place[2]) == place[2]


def test_draws_are_uniform_over_items_and_over_epochs() -> None:
    items = np.arange(4000)
    draws = np.stack([draw_choices(0, np.full(4000, e), items, 4000, 4) for e in range(12)])
    for axis_counts in (np.bincount(draws[0], minlength=4), np.bincount(draws[:, 7], minlength=4)):
        assert axis_counts.size == 4
    counts = np.bincount(draws.ravel(), minlength=4)
    expected = draws.size / 4
    assert ((counts - expected) ** 2 / expected).sum() < 16.3  # chi-square, 3 degrees, p = 0.001
    # Independent of the epoch before: all 16 transitions equally often.
    pairs = np.bincount((4 * draws[:-1] + draws[1:]).ravel(), minlength=16)
    expected = draws[1:].size / 16
    assert ((pairs - expected) ** 2 / expected).sum() < 37.7  # chi-square, 15 degrees, p = 0.001


def test_sizes_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="global_batch=11 is larger than an epoch of 10 items"):
        SampleOrder(0, 10, 11, "drop")
    with pytest.raises(ValueError, match=r"global_batch=64 .* 3 ranks; nearest .*: (2|4)"):
        rank_slice(64, 0, 3)


@pytest.mark.parametrize("pairs", ["stored", "online"])
def test_training_on_the_first_items_reads_no_others(digits_dir, pairs: str) -> None:
    reader = PairStore(digits_dir).split("train")
    order = make_train_order(reader, pairs, 3, 8, "drop", 24)
    batches = TrainBatches(reader, order, pairs, 0, 1)
    assert order.steps_per_epoch() == 3
    read = np.concatenate([batches.records(step) for step in range(6)])
    items = read if pairs == "stored" else read // 4
    assert np.array_equal(np.sort(items), np.repeat(np.arange(24), 2))
    with pytest.raises(ValueError, match="num_train_items=999999 is more than"):
        make_train_order(reader, pairs, 0, 8, "drop", 999_999)


def test_online_pairs_need_stored_orbits(episode_dir) -> None:
    reader = PairStore(episode_dir).split("train")
    with pytest.raises(ValueError, match=r"pairs=online needs .*orbit"):
        make_train_order(reader, "online", 0, 4, "drop")
    assert make_train_order(reader, "stored", 0, 4, "drop").num_items == reader.num_records
