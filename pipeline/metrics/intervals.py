"""Confidence intervals of means by Student's t."""

import math
import statistics
from collections.abc import Sequence

MIN_RUNS = 3
"""The least number of runs whose interval tables show: that of two is thirteen times as wide as
their deviation suggests."""


def half_width(values: Sequence[float], level: float = 0.95) -> float:
    """Half the width of the mean's confidence interval, for at least two independent values.

    The interval contains the mean of normal values in a share `level` of all samples.
    """
    from scipy.stats import t

    num = len(values)
    quantile = float(t.ppf((1 + level) / 2, num - 1))
    return quantile * statistics.stdev(values) / math.sqrt(num)
