"""Uniform permutations and draws that are computed by place, with nothing stored.

A Feistel network over the pairs (left, right) of two digits permutes side^2 places, whatever
its round function is; places beyond the last item are walked on from until they meet an
item (cycle walking; Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). With
the smallest side whose square holds all items hardly any place has to be walked on from.
"""

import math
from functools import lru_cache

import numpy as np

NUM_ROUNDS = 7
MAX_ITEMS = 2**62


@lru_cache(maxsize=64)
def round_keys(*words: int) -> tuple[int, ...]:
    """Keys of a permutation or of draws, from whole numbers that are not negative."""
    return tuple(np.random.SeedSequence(words).generate_state(NUM_ROUNDS, np.uint64).tolist())


def permuted(places: np.ndarray, num_items: int, keys: tuple[int, ...]) -> np.ndarray:
    """The items at these places (B,) of a permutation of 0..num_items-1, (B,) int64.

    Raises ValueError for more than 2^62 items.
    """
    if num_items > MAX_ITEMS:
        raise ValueError(f"{num_items} items are more than can be permuted")
    side = math.isqrt(max(0, num_items - 1)) + 1
    items = _rounds(places.astype(np.uint64), side, keys)
    while len(beyond := np.flatnonzero(items >= num_items)):
        items[beyond] = _rounds(items[beyond], side, keys)
    return items.astype(np.int64)


def drawn(items: np.ndarray, num_choices: int, keys: tuple[int, ...]) -> np.ndarray:
    """A uniform draw from 0..num_choices-1 (at most 2^32) for each of these items, (B,) int64."""
    bits = _mixed(_mixed(items.astype(np.uint64), keys[0]), keys[1])
    return _scaled(bits, num_choices).astype(np.int64)


def uniform(items: np.ndarray, keys: tuple[int, ...]) -> np.ndarray:
    """A uniform number in [0, 1), a multiple of 2^-53, for each of these items, (B,) float64."""
    bits = _mixed(_mixed(items.astype(np.uint64), keys[0]), keys[1])
    return np.asarray((bits >> np.uint64(11)) * 2.0**-53)


def _rounds(places: np.ndarray, side: int, keys: tuple[int, ...]) -> np.ndarray:
    left, right = np.divmod(places, np.uint64(side))
    for key in keys:
        moved = left + _scaled(_mixed(right, key), side)
        left, right = right, np.where(moved >= side, moved - np.uint64(side), moved)
    return np.asarray(left * np.uint64(side) + right)


def _mixed(values: np.ndarray, key: int) -> np.ndarray:
    """64 bits that look random, of each value and the key (the finaliser of SplitMix64)."""
    bits = values + np.uint64(key)
    bits ^= bits >> np.uint64(30)
    bits *= np.uint64(0xBF58476D1CE4E5B9)
    bits ^= bits >> np.uint64(27)
    bits *= np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    return bits


def _scaled(bits: np.ndarray, num: int) -> np.ndarray:
    """Uniform numbers below `num` from the upper 32 bits."""
    return np.asarray(((bits >> np.uint64(32)) * np.uint64(num)) >> np.uint64(32))
