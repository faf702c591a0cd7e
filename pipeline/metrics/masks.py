"""Whether two masks over the channels of two networks say the same: up to the order of channels.

Channels are matched by what they do: the pairs of channels, one of each network, whose values on
the same images and cells have the largest sum of absolute correlations. Masks agree in a matched
pair if both channels are variant, or none is. If a of n matched channels of one network and b of
the other are variant, and the pairs are drawn at random, the expected share of agreement is

    chance = (a b + (n - a)(n - b)) / n^2

and the number of pairs that are variant in both is hypergeometric, which gives the p-value.
"""

from typing import NamedTuple

import numpy as np

SMALLEST_DEVIATION = 1e-3


class Matching(NamedTuple):
    """Channels of two networks, pair by pair: their numbers (n,) each, and the absolute correlation
    of their values, (n,) in [0, 1]."""

    first: np.ndarray
    second: np.ndarray
    correlation: np.ndarray


def match_channels(first: np.ndarray, second: np.ndarray) -> Matching:
    """Match channels by their values (M, C) and (M, D) on the same M images and cells.

    Channels that hardly vary are left out; of the others as many are matched as both have.
    """
    from scipy.optimize import linear_sum_assignment

    numbers, columns = [], []
    for values in (first.astype(np.float64), second.astype(np.float64)):
        deviation = values.std(0)
        live = np.flatnonzero(deviation > SMALLEST_DEVIATION)
        numbers.append(live)
        columns.append((values[:, live] - values[:, live].mean(0)) / deviation[live])
    correlation = np.abs(columns[0].T @ columns[1]) / len(first)
    rows, others = linear_sum_assignment(correlation, maximize=True)
    found = correlation[rows, others].clip(max=1.0)
    return Matching(numbers[0][rows], numbers[1][others], found)


class Agreement(NamedTuple):
    """Shares in [0, 1]: of matched channels that are variant in both networks or in none, what
    pairs at random would have, and the probability that these agree at least as often."""

    share: float
    chance: float
    p_value: float


def mask_agreement(first: np.ndarray, second: np.ndarray) -> Agreement:
    """The agreement of two masks (n,) bool over matched channels, n at least 1."""
    from scipy.stats import hypergeom

    num, a, b = len(first), int(first.sum()), int(second.sum())
    both = int((first & second).sum())
    chance = (a * b + (num - a) * (num - b)) / num**2
    p_value = float(hypergeom.sf(both - 1, num, a, b))
    return Agreement(float((first == second).mean()), chance, min(1.0, p_value))
