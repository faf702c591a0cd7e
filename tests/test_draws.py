"""Protects keyed draws: known answers, no influence of what is drawn beside, even spread."""

import itertools
import math

import numpy as np
import pytest

from data_prep.worlds.draws import DrawKey, choices, integers, philox, uniforms

ONES = 0xFFFFFFFF
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
"""Counter, key and words, as published with the generator (Random123, kat_vectors)."""

KEY = DrawKey(seed=3, split_number=1, stream=2, time=5)


def is_even(counts: np.ndarray) -> bool:
    """Whether chi squared lies within four standard deviations of its mean."""
    mean = counts.mean()
    statistic, freedom = float(((counts - mean) ** 2 / mean).sum()), counts.size - 1
    return abs(statistic - freedom) < 4 * math.sqrt(2 * freedom)


def test_known_answers() -> None:
    for counter, key, words in KNOWN_ANSWERS:
        column = np.array(counter, np.uint64)[:, None]
        assert tuple(philox(column, key)[:, 0].tolist()) == words


@pytest.mark.parametrize("num", [1, 4, 7])
def test_a_row_does_not_depend_on_the_rows_beside_it(num: int) -> None:
    episodes = np.array([5, 0, 2**32 - 1, 17])
    together = uniforms(KEY, episodes, num)
    alone = [uniforms(KEY, episodes[i : i + 1], num)[0] for i in range(4)]
    assert np.array_equal(together, np.stack(alone))
    assert np.array_equal(uniforms(KEY, episodes[::-1], num), together[::-1])
    # More numbers of a row begin with the same ones.
    assert np.array_equal(uniforms(KEY, episodes, num + 5)[:, :num], together)
    assert uniforms(KEY, episodes[:0], num).shape == (0, num)


def test_every_part_of_the_key_matters() -> None:
    seeds, splits, streams, times = (0, 1, 2**32, 2**62 + 1), (0, 1, 2), (0, 1), (0, 1)
    keys = [DrawKey(*parts) for parts in itertools.product(seeds, splits, streams, times)]
    rows = np.concatenate([uniforms(key, np.arange(20), 4) for key in keys])
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_uniforms_fill_the_unit_interval_evenly() -> None:
    values = uniforms(KEY, np.arange(20_000), 2)
    assert values.min() >= 0
    assert values.max() < 1
    joint, _, _ = np.histogram2d(*values.T, bins=20, range=[[0, 1], [0, 1]])
    assert is_even(joint)


def test_integers_stay_below_their_bounds_and_are_even() -> None:
    drawn = integers(KEY, np.arange(20_000), (5, 1, 4))
    assert drawn.dtype == np.int64
    assert np.array_equal(drawn.max(0), [4, 0, 3])
    assert is_even(np.bincount(drawn[:, 0] * 4 + drawn[:, 2], minlength=20))


def test_choices_are_different_things_in_every_order_alike() -> None:
    drawn = choices(KEY, np.arange(30_000), 5, 3)
    assert (np.sort(drawn, 1)[:, 1:] > np.sort(drawn, 1)[:, :-1]).all()
    code = drawn @ np.array([25, 5, 1])
    _, counts = np.unique(code, return_counts=True)
    assert len(counts) == 5 * 4 * 3
    assert is_even(counts)
    assert np.array_equal(
        np.sort(choices(KEY, np.arange(9), 4, 4), 1), np.tile(np.arange(4), (9, 1))
    )
    with pytest.raises(ValueError, match="no 6 different ones among 5"):
        choices(KEY, np.arange(2), 5, 6)
