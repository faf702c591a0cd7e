"""What a result has in a column of a table: metrics, worst elements, the probe's accuracy."""

from collections.abc import Callable, Sequence
from typing import Any

from orbit.core.metrics import Column, Metric, statement_of

Result = dict[str, Any]
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
