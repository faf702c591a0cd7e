"""Cells of tables: means, spreads and intervals over the runs of a row, and paired differences."""

import math
import statistics
from collections.abc import Sequence

from orbit.core.metrics import Statistic
from pipeline.metrics.intervals import MIN_RUNS, half_width


def cell(values: Sequence[float], digits: int, statistic: Statistic, num_planned: int) -> str:
    """`27.10 ± 0.31 (CI ± 0.77)`: mean, sample deviation and, of three runs or more, half the width
    of the mean's 95% interval; or median and range; empty without values.

    The number of runs follows in brackets if it is not the planned one.
    """
    if not values:
        return ""
    if statistic == "median":
        text = f"{statistics.median(values):.{digits}f}"
        if len(values) > 1:
            text += f" [{min(values):.{digits}f}, {max(values):.{digits}f}]"
    else:
        text = f"{math.fsum(values) / len(values):.{digits}f}"
        if len(values) > 1:
            text += f" ± {statistics.stdev(values):.{digits}f}"
        if len(values) >= MIN_RUNS:
            text += f" (CI ± {half_width(values):.{digits}f})"
    return text if len(values) == num_planned else f"{text} ({len(values)})"


def spread(values: Sequence[float]) -> str:
    """`97.25 ± 0.31 (CI ± 0.77)`: as `cell` has means, with four digits that count; empty without
    values."""
    if not values:
        return ""
    text = f"{math.fsum(values) / len(values):.4g}"
    if len(values) > 1:
        text += f" ± {statistics.stdev(values):.2g}"
    if len(values) >= MIN_RUNS:
        text += f" (CI ± {half_width(values):.2g})"
    return text


def difference(differences: Sequence[float]) -> str:
    """`+0.25 ± 0.40 (3)`: the mean of differences seed by seed, of three or more half the width of
    its 95% interval, and their number; bold if the interval does not contain 0."""
    if not differences:
        return ""
    mean, num = math.fsum(differences) / len(differences), len(differences)
    text = f"{mean:+.3g}" if mean else "0"
    if num < MIN_RUNS:
        return f"{text} ({num})"
    half = half_width(differences)
    text = f"{text} ± {half:.2g} ({num})"
    return f"**{text}**" if abs(mean) > half else text
