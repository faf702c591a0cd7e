"""Protects permutations by place: every item once, as uniform as a shuffle, nothing stored."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline.data.order as orders
from pipeline.data.order import MAX_ITEMS, SampleOrder, draw_choices, drawn, permuted, round_keys


def chi_square(counts: np.ndarray) -> float:
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2 / expected).sum())


@settings(max_examples=40)
@given(num=st.integers(1, 3000), words=st.lists(st.integers(0, 2**40), min_size=1, max_size=3))
def test_every_item_comes_once(num: int, words: list[int]) -> None:
    items = permuted(np.arange(num), num, round_keys(*words))
    assert items.dtype == np.int64
    assert np.array_equal(np.sort(items), np.arange(num))


@settings(max_examples=25)
@given(
    num=st.integers(2**33, MAX_ITEMS),
    places=st.sets(st.integers(0, 2**33 - 1), min_size=2, max_size=50),
)
def test_places_of_large_permutations_stay_apart(num: int, places: set[int]) -> None:
    """Where counting them all would never end: no two meet, and none leaves the range."""
    chosen = np.array(sorted(places))
    items = permuted(chosen, num, round_keys(0))
    assert len(set(items.tolist())) == len(places)
    assert 0 <= items.min() <= items.max() < num
    # One place at a time or many together, the items are the same.
    assert permuted(chosen[:1], num, round_keys(0)) == items[:1]


@pytest.mark.parametrize("num", [1024, 1000])
def test_places_go_everywhere_with_equal_probability(num: int) -> None:
    """Over many keys: where the first and last places go, and how far neighbours land apart."""
    tables = np.stack([permuted(np.arange(num), num, round_keys(1, key)) for key in range(1024)])
    eighths = tables * 8 // num
    for place in (0, 1, num // 2, num - 1):
        # 7 degrees of freedom, p = 0.0001.
        assert chi_square(np.bincount(eighths[:, place], minlength=8)) < 29.9
    steps = (tables[:, 1:40] - tables[:, :39]) % num
    assert chi_square(np.bincount((steps * 8 // num).ravel(), minlength=8)) < 29.9
    # Pairs of neighbours fill the square, and not a part of it: 63 degrees, p = 0.0001.
    cells = eighths[:, 0:64:2] * 8 + eighths[:, 1:64:2]
    assert chi_square(np.bincount(cells.ravel(), minlength=64)) < 113.5


def test_permutations_of_four_items_are_all_reached_about_equally() -> None:
    tables = [tuple(permuted(np.arange(4), 4, round_keys(2, key)).tolist()) for key in range(1200)]
    _, counts = np.unique(tables, axis=0, return_counts=True)
    assert len(counts) == 24
    assert chi_square(counts) < 54.0  # 23 degrees of freedom, p = 0.0003


def test_draws_are_uniform_and_belong_to_the_item() -> None:
    items = np.arange(60_000)
    draws = drawn(items, 6, round_keys(3))
    assert chi_square(np.bincount(draws, minlength=6)) < 20.5  # 5 degrees, p = 0.001
    assert np.array_equal(drawn(items[::-7], 6, round_keys(3)), draws[::-7])
    both = draws * 6 + drawn(items, 6, round_keys(4))
    assert chi_square(np.bincount(both, minlength=36)) < 66.6  # 35 degrees, p = 0.001


def test_an_epoch_by_place_is_an_order_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit nothing is kept, and steps may be asked for in any order."""
    monkeypatch.setattr(orders, "NUM_STORED", 1000)
    monkeypatch.setattr(orders, "NUM_TOGETHER", 64)
    order = SampleOrder(5, 1003, 17, "carry")
    steps = [order.batch(step) for step in range(118)]
    assert np.array_equal(order.batch(60)[1], steps[60][1])
    epochs, items = (np.concatenate(parts) for parts in zip(*steps, strict=True))
    for epoch in range(2):
        assert np.array_equal(np.sort(items[:2006][epochs[:2006] == epoch]), np.arange(1003))
    assert not np.array_equal(items[:1003], items[1003:2006])
    draws = draw_choices(5, epochs[:500], items[:500], 1003, 4)
    assert set(draws.tolist()) == {0, 1, 2, 3}
    assert np.array_equal(draw_choices(5, epochs[:9], items[:9], 1003, 4), draws[:9])


def test_a_step_of_a_hundred_million_items_keeps_few_numbers() -> None:
    """Nothing of the epoch's size is made, in whatever epoch one begins."""
    order = SampleOrder(0, 100_000_000, 256, "drop")
    for step in (0, 390_624, 390_625 * 7 + 11):
        epochs, items = order.batch(step)
        assert len(set(items.tolist())) == 256
        assert set(epochs.tolist()) == {step // 390_625}
    assert orders.epoch_permutation.cache_info().currsize < 5
