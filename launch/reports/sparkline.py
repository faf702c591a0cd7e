"""A row of numbers as a row of little bars. Pure."""

import math
from collections.abc import Sequence

import numpy as np

from launch.reports.html.downsampling import bucket_means, make_buckets

BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.-:=+*#"
"""For terminals that know no others."""
GAP = "·"
"""Where no number is finite."""
LARGE_RATIO = 10.0
"""Positive numbers that differ by more than this are drawn by their logarithms."""


def bars_of(encoding: str) -> str:
    """The bars that an encoding has."""
    try:
        (BARS + GAP).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII_BARS
    return BARS


def sparkline(values: Sequence[float], width: int, bars: str = BARS) -> str:
    """At most `width` bars from the least to the greatest value, means of neighbours if need be."""
    gap = GAP if bars == BARS else " "
    array = np.asarray(values, np.float64)
    means = bucket_means(array, make_buckets(len(array), width)).mean
    finite = means[np.isfinite(means)]
    if not len(finite):
        return gap * len(means)
    if finite.min() > 0 and finite.max() > LARGE_RATIO * finite.min():
        means, finite = np.log(means), np.log(finite)
    low, extent = float(finite.min()), float(finite.max() - finite.min())
    return "".join(
        gap if not math.isfinite(mean) else bars[_bar((mean - low) / extent if extent else 0.0)]
        for mean in means.tolist()
    )


def _bar(share: float) -> int:
    return min(len(BARS) - 1, int(share * len(BARS)))
