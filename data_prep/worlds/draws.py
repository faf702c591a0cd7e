"""Random draws of worlds as pure functions of a key and a counter (Philox4x32-10).

Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), for any number
of counters at once. There is no state: a row does not depend on the other episodes that are drawn,
on their order, or on the process.
"""

from dataclasses import dataclass

import numpy as np

NUM_ROUNDS = 10
MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
INCREMENTS = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Four random words for each counter: both (4, N) uint64 with values below 2^32."""
    a, b, c, d = counter
    first, second = np.uint64(key[0]), np.uint64(key[1])
    for _ in range(NUM_ROUNDS):
        product, other = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, c = (other >> HALF) ^ b ^ first, (product >> HALF) ^ d ^ second
        b, d = other & LOW, product & LOW
        first, second = (first + INCREMENTS[0]) & LOW, (second + INCREMENTS[1]) & LOW
    return np.stack([a, b, c, d])


NUM_SPLITS = 4
"""A power of two that holds the numbers of all splits."""
WORDS_PER_CALL = 4


@dataclass(frozen=True)
class DrawKey:
    """The key of a draw, besides its episode: `stream` distinguishes what is drawn.

    `seed` lies below 2^63, `split_number` is the position in `SPLITS`, `time` is the step.
    """

    seed: int
    split_number: int
    stream: int
    time: int = 0


def uniforms(key: DrawKey, episodes: np.ndarray, num: int) -> np.ndarray:
    """Numbers in [0, 1), multiples of 2^-32, float64 (N, num) for episodes (N,) below 2^32."""
    return _words(key, episodes, num) * 2.0**-32


def integers(key: DrawKey, episodes: np.ndarray, bounds: tuple[int, ...]) -> np.ndarray:
    """Integers from 0 up to each bound (exclusive), int64 (N, len(bounds)).

    Uniform up to a relative error of bound / 2^32.
    """
    words = _words(key, episodes, len(bounds))
    return (words * np.array(bounds, np.uint64) >> np.uint64(32)).astype(np.int64)


def choices(key: DrawKey, episodes: np.ndarray, num_things: int, num: int) -> np.ndarray:
    """`num` different ones of `num_things`, in drawn order, int64 (N, num)."""
    if num > num_things:
        raise ValueError(f"there are no {num} different ones among {num_things}")
    places = integers(key, episodes, tuple(range(num_things, num_things - num, -1)))
    things = np.tile(np.arange(num_things), (len(episodes), 1))
    rows = np.arange(len(episodes))
    for first in range(num):
        chosen = first + places[:, first]
        taken = things[rows, chosen]
        things[rows, chosen] = things[:, first]
        things[:, first] = taken
    return things[:, :num]


def _words(key: DrawKey, episodes: np.ndarray, num: int) -> np.ndarray:
    """Random words below 2^32, uint64 (N, num)."""
    num_calls = -(-num // WORDS_PER_CALL)
    counter = np.empty((WORDS_PER_CALL, len(episodes), num_calls), np.uint64)
    counter[0] = np.asarray(episodes, np.uint64)[:, None]
    counter[1] = key.time
    counter[2] = key.stream * NUM_SPLITS + key.split_number
    counter[3] = np.arange(num_calls)
    words = philox(counter, (key.seed & 0xFFFFFFFF, key.seed >> 32))
    return np.moveaxis(words, 0, -1).reshape(len(episodes), num_calls * WORDS_PER_CALL)[:, :num]
