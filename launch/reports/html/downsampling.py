"""Fewer points for the eye: means of neighbours, with the extremes that they hide. Pure."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Buckets:
    """How L points in order become M: point i of them lies between edges i and i + 1."""

    edges: np.ndarray
    """Positions (M + 1,) int64, from 0 to L."""

    @property
    def num_points(self) -> int:
        """M."""
        return len(self.edges) - 1

    @property
    def is_thinned(self) -> bool:
        """Whether a point stands for more than one."""
        return bool(self.edges[-1] > self.num_points)

    @property
    def most(self) -> int:
        """The most points that one stands for, 0 without any."""
        return int(np.diff(self.edges).max()) if self.num_points else 0


@dataclass(frozen=True)
class Thinned:
    """Mean, least and greatest value of each bucket (M,); NaN where it has no finite value."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def make_buckets(num_points: int, max_points: int) -> Buckets:
    """At most `max_points` buckets of sizes that differ by one at most."""
    num = min(num_points, max_points)
    return Buckets(np.arange(num + 1, dtype=np.int64) * num_points // max(1, num))


def bucket_means(values: np.ndarray, buckets: Buckets) -> Thinned:
    """Values (L,) bucket by bucket; what is not finite does not count."""
    starts = buckets.edges[:-1]
    if not len(starts):
        empty = np.zeros(0)
        return Thinned(empty, empty, empty)
    finite = np.isfinite(values)
    counts = np.add.reduceat(finite.astype(np.int64), starts)
    sums = np.add.reduceat(np.where(finite, values, 0.0), starts)
    low = np.minimum.reduceat(np.where(finite, values, np.inf), starts)
    high = np.maximum.reduceat(np.where(finite, values, -np.inf), starts)
    some = counts > 0
    mean = np.where(some, sums / np.maximum(counts, 1), np.nan)
    low, high = np.where(some, low, np.nan), np.where(some, high, np.nan)
    # Sums round: a mean of equal values must not leave their range.
    return Thinned(np.clip(mean, low, high), low, high)
