"""The order of items: permutations as pure functions of (seed, epoch, index).

A Feistel network over the pairs (left, right) of two digits permutes side^2 positions, whatever its
round function is. From a position beyond the last item it is applied again until it gives an item
(cycle walking; Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). The side is the
smallest one whose square holds all items, so that this is rarely necessary.

Nothing here depends on workers, restarts or the clock. A rank takes its slice of the global batch,
so any number of ranks that divides it reads the same items.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

NUM_ROUNDS = 7
MAX_ITEMS = 2**62


@lru_cache(maxsize=64)
def round_keys(*words: int) -> tuple[int, ...]:
    """Keys of a permutation or of draws, from nonnegative integers."""
    return tuple(np.random.SeedSequence(words).generate_state(NUM_ROUNDS, np.uint64).tolist())


def permuted(places: np.ndarray, num_items: int, keys: tuple[int, ...]) -> np.ndarray:
    """The items at these positions (B,) of a permutation of 0..num_items-1, (B,) int64.

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
    """64 pseudo-random bits of each value and the key (the finaliser of SplitMix64)."""
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


Tail = Literal["drop", "carry"]

ORDER_STREAM, DRAW_STREAM, ELEMENT_STREAM = 10, 11, 12
NUM_STORED = 2**20
"""Epochs with more items are not kept as arrays, which would take seconds and gigabytes."""
NUM_TOGETHER = 2**13
"""Positions whose items are computed together: computing only a batch costs ten times as much per
item."""


@lru_cache(maxsize=4)
def epoch_permutation(seed: int, epoch: int, num_items: int) -> np.ndarray:
    """The order of an epoch: a uniform permutation of 0..num_items-1, int64, read-only."""
    order = np.random.default_rng([seed, ORDER_STREAM, epoch]).permutation(num_items)
    order.flags.writeable = False
    return order


@lru_cache(maxsize=4)
def epoch_draws(seed: int, epoch: int, num_items: int, num_choices: int) -> np.ndarray:
    """One uniform draw from 0..num_choices-1 for every item of an epoch, read-only."""
    rng = np.random.default_rng([seed, DRAW_STREAM, epoch])
    draws = rng.integers(0, num_choices, num_items)
    draws.flags.writeable = False
    return draws


def items_at(seed: int, epoch: int, positions: np.ndarray, num_items: int) -> np.ndarray:
    """The items (B,) int64 at these positions of an epoch's uniform permutation."""
    if num_items <= NUM_STORED:
        return np.asarray(epoch_permutation(seed, epoch, num_items)[positions])
    items = np.empty(len(positions), np.int64)
    parts = positions // NUM_TOGETHER
    for part in np.unique(parts).tolist():
        within = parts == part
        computed = _computed_items(seed, epoch, num_items, part)
        items[within] = computed[positions[within] - part * NUM_TOGETHER]
    return items


@lru_cache(maxsize=4)
def _computed_items(seed: int, epoch: int, num_items: int, part: int) -> np.ndarray:
    first = part * NUM_TOGETHER
    places = np.arange(first, min(first + NUM_TOGETHER, num_items))
    return permuted(places, num_items, round_keys(seed, ORDER_STREAM, epoch))


@dataclass(frozen=True)
class SampleOrder:
    """Order of training items.

    `drop` leaves out the last num_items % global_batch items of each epoch's permutation; with
    `carry` a batch continues from one epoch into the next. No item occurs twice in an epoch. Raises
    ValueError if an epoch has less than one batch.
    """

    seed: int
    num_items: int
    global_batch: int
    tail: Tail

    def __post_init__(self) -> None:
        if self.global_batch > self.num_items:
            raise ValueError(
                f"global_batch={self.global_batch} is larger than an epoch"
                f" of {self.num_items} items"
            )

    def num_steps(self, num_epochs: int) -> int:
        """Steps that `num_epochs` epochs take; a last incomplete batch is left out."""
        if self.tail == "drop":
            return num_epochs * (self.num_items // self.global_batch)
        return num_epochs * self.num_items // self.global_batch

    def steps_per_epoch(self) -> int:
        """Steps of one epoch; with `carry`, steps that start in the first epoch."""
        if self.tail == "drop":
            return self.num_items // self.global_batch
        return -(-self.num_items // self.global_batch)

    def epoch_of_step(self, step: int) -> int:
        """The epoch, counted from 0, in which a step (counted from 0) starts."""
        if self.tail == "drop":
            return step // (self.num_items // self.global_batch)
        return step * self.global_batch // self.num_items

    def is_epoch_end(self, num_steps_done: int) -> bool:
        """Whether an epoch ended with the latest step (with `carry`: within it)."""
        if num_steps_done == 0:
            return False
        return self.epochs_done(num_steps_done) > self.epochs_done(num_steps_done - 1)

    def window(self, step: int) -> tuple[int, int] | None:
        """First and last step (exclusive) of the steps whose items are read together, if any."""
        return None

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Epoch and item number, both (global_batch,) int64, of every position of a step's
        batch."""
        if self.tail == "drop":
            per_epoch = self.num_items // self.global_batch
            epoch, position = divmod(step, per_epoch)
            first = position * self.global_batch
            positions = np.arange(first, first + self.global_batch)
            chosen = items_at(self.seed, epoch, positions, self.num_items)
            return np.full(self.global_batch, epoch), chosen
        places = np.arange(step * self.global_batch, (step + 1) * self.global_batch)
        epochs, positions = np.divmod(places, self.num_items)
        chosen = np.empty(self.global_batch, np.int64)
        for epoch in np.unique(epochs):
            within = epochs == epoch
            chosen[within] = items_at(self.seed, int(epoch), positions[within], self.num_items)
        return epochs, chosen

    def epochs_done(self, num_steps_done: int) -> int:
        """Epochs that are complete after this many steps."""
        if self.tail == "drop":
            return num_steps_done // (self.num_items // self.global_batch)
        return num_steps_done * self.global_batch // self.num_items


def draw_choices(
    seed: int, epochs: np.ndarray, items: np.ndarray, num_items: int, num_choices: int
) -> np.ndarray:
    """A uniform draw for each (epoch, item), independent of the rest of the batch; (B,) int64."""
    draws = np.empty(len(items), np.int64)
    for epoch in np.unique(epochs).tolist():
        within = epochs == epoch
        draws[within] = _draws_of(seed, epoch, items[within], num_items, num_choices)
    return draws


def _draws_of(
    seed: int, epoch: int, items: np.ndarray, num_items: int, num_choices: int
) -> np.ndarray:
    if num_items <= NUM_STORED:
        return np.asarray(epoch_draws(seed, epoch, num_items, num_choices)[items])
    return drawn(items, num_choices, round_keys(seed, DRAW_STREAM, epoch))


def draw_uniforms(seed: int, epochs: np.ndarray, items: np.ndarray, num: int) -> np.ndarray:
    """`num` uniform numbers in [0, 1) for each (epoch, item), independent of the rest of the batch;
    float64 (B, num)."""
    numbers = np.empty((len(items), num))
    for epoch in np.unique(epochs).tolist():
        within = epochs == epoch
        for column in range(num):
            keys = round_keys(seed, ELEMENT_STREAM, epoch, column)
            numbers[within, column] = uniform(items[within], keys)
    return numbers


def rank_slice(global_batch: int, rank: int, world_size: int) -> slice:
    """The positions of a global batch that a rank reads.

    Raises ValueError if the ranks do not divide the batch.
    """
    if global_batch % world_size:
        divisors = [count for count in range(1, global_batch + 1) if global_batch % count == 0]
        nearest = min(divisors, key=lambda count: abs(count - world_size))
        raise ValueError(
            f"global_batch={global_batch} cannot be divided among {world_size} ranks;"
            f" nearest number of ranks that can: {nearest}"
        )
    share = global_batch // world_size
    return slice(rank * share, (rank + 1) * share)
