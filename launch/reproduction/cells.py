"""Cells of tables: what a result has in a column, then means, spreads and intervals over runs.

A value is a metric, that of the worst element, or the probe's accuracy. The table of differences to
a reference variant compares runs of one seed and one precision.
"""

import math
import statistics
from collections.abc import Callable, Sequence

from launch.reproduction.plan import NOT_RUN, Result, Row, Rows, markdown
from launch.reproduction.settings import ReproductionSettings
from orbit.core.metrics import MIN_RUNS, Column, Metric, Statistic, half_width, statement_of

MAIN_CLASSIFIER = "linear"
Value = Callable[[Result], float | None]
"""What a result has in a column, None where it has nothing."""


def metric(name: str) -> Value:
    """The value of a metric, wherever it is in the result; `num_parameters` and `train_minutes`
    are what it cost."""

    def value(result: Result) -> float | None:
        seconds = result["seconds"].get("train")
        cost = {
            "num_parameters": result.get("num_parameters"),
            "train_minutes": None if seconds is None else seconds / 60,
        }
        found = {**cost, **result["metrics"], **result.get("mask", {})}.get(name)
        return float(found) if found is not None else None

    return value


def worst_of(statement: Metric, stated: Sequence[Metric]) -> Value:
    """The worst value of the group's elements, None if the result has no values by element."""
    worst = max if statement.direction == "lower" else min

    def value(result: Result) -> float | None:
        values = [
            value
            for name, value in result["metrics"].items()
            if name != statement.name and statement_of(name, stated) == statement
            if value is not None
        ]
        return worst(values, default=None)

    return value


def columns_of(results: Sequence[Result], stated: Sequence[Metric]) -> list[tuple[Column, Value]]:
    """The columns of a method's metrics that at least one of the results fills."""
    columns: list[tuple[Column, Value]] = []
    for statement in stated:
        if statement.column is not None:
            columns.append((statement.column, metric(statement.name)))
        if statement.worst is not None:
            columns.append((statement.worst, worst_of(statement, stated)))
    return [each for each in columns if any(each[1](result) is not None for result in results)]


def accuracy(labels: str, feature: str) -> Value:
    """The accuracy of the linear probe on a feature, with all labels."""

    def value(result: Result) -> float | None:
        for entry in result.get("classification", []):
            wanted = (MAIN_CLASSIFIER, labels, feature, 1.0)
            if (
                entry["classifier"],
                entry["labels"],
                entry["feature"],
                entry["fraction"],
            ) == wanted:
                return float(entry["accuracy"]) if "accuracy" in entry else None
        return None

    return value


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
