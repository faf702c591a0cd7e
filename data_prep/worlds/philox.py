"""Philox4x32-10: random words as a pure function of a key and a counter.

Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), for any
number of counters at once. There is no state, so that one draw does not depend on another.
"""

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
