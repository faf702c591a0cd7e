"""Cells of tables: means, spreads and intervals over the runs of a row; and the table of
differences to a reference variant, between runs of one seed and one precision."""

import math
import statistics
from collections.abc import Sequence

from launch.reproduction.plan import NOT_RUN, Result, Row, Rows, markdown
from launch.reproduction.settings import ReproductionSettings
from launch.reproduction.values import Value, accuracy, metric
from orbit.core.metrics import MIN_RUNS, Statistic, half_width


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


PROBES = {
    f"probe on {feature}, {labels}": accuracy(labels, feature)
    for feature in ("pooled_z", "pooled_z_v")
    for labels in ("upright", "rotated")
}


def paired_block(settings: ReproductionSettings, dataset: str, rows: Rows) -> dict[str, str]:
    """`DATASET/paired`: differences to the reference seed by seed, in Markdown; empty if the
    dataset has no reference."""
    reference = settings.reference_of(dataset)
    if reference is None:
        return {}
    panels = {panel.title: _times(metric(panel.metric), panel.factor) for panel in settings.panels}
    theirs = {
        (row.precision, result["seed"]): result
        for row in rows.results
        if row.variant == reference
        for result in rows.finished(row)
    }
    found: dict[Row, dict[str, list[float]]] = {}
    for row in rows.results:
        pairs = [
            (result, theirs[row.precision, result["seed"]])
            for result in rows.finished(row)
            if row.variant != reference and (row.precision, result["seed"]) in theirs
        ]
        for title, value_of in (*panels.items(), *PROBES.items()):
            values = [(value_of(result), value_of(other)) for result, other in pairs]
            both = [a - b for a, b in values if a is not None and b is not None]
            if both:
                found.setdefault(row, {})[title] = both
    titles = [
        title for title in (*panels, *PROBES) if any(title in each for each in found.values())
    ]
    lines = [
        [row.code, *(difference(each.get(title, ())) for title in titles)]
        for row, each in found.items()
    ]
    text = markdown([f"less `{reference}`", *titles], lines) if lines else [NOT_RUN]
    return {f"{dataset}/paired": "\n".join(text)}


def _times(value_of: Value, factor: float) -> Value:
    def value(result: Result) -> float | None:
        found = value_of(result)
        return None if found is None else found * factor

    return value
