"""Tables of results in Markdown: columns, cells over seeds, rows."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from launch.reports.papers import Paper, PaperColumn, PaperRow, PaperTable, read_paper
from launch.reproduction.plan import NOT_RUN, Rows, markdown, plan_run, runs_cell, select
from launch.reproduction.results import provenance_lines
from launch.reproduction.settings import PaperRows, Preset, ReproductionSettings, check_known
from orbit.core.metrics import Column, Metric, Statistic, statement_of
from pipeline.methods.table import find_method

Result = dict[str, Any]
Value = Callable[[Result], float | None]
"""What a result has in a column, None where it has nothing."""


def metric(name: str) -> Value:
    """The value of a metric, wherever it is in the result."""

    def value(result: Result) -> float | None:
        found = {**result["metrics"], **result.get("mask", {})}.get(name)
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


def cell(values: Sequence[float], digits: int, statistic: Statistic, num_planned: int) -> str:
    """`27.10 ± 0.31`: mean and sample deviation, or median and range; empty without values.

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
    return text if len(values) == num_planned else f"{text} ({len(values)})"


def results_block(settings: ReproductionSettings, preset: Preset, dataset: str, rows: Rows) -> str:
    """The table of a dataset with `columns` or `paper`, in Markdown.

    If the paper has a row for a variant, it follows ours, with footnotes on faults of its numbers.
    Raises ValueError for a table or row that the paper does not have.
    """
    own = settings.datasets[dataset]
    columns, printed, notes = dict(own.columns), dict[str, PaperRow](), list[str]()
    paper = None if own.paper is None else read_paper(str(settings.paper))
    if paper is not None and own.paper is not None:
        table, printed = _find(paper, own.paper)
        columns = {**table.columns, **columns}
        notes = [*table.notes]
        for variant in rows.results:
            notes += printed[variant].notes if variant in printed else ()
        notes = list(dict.fromkeys(notes))
    lines = []
    for name in rows.results:
        cells = [_cell(rows, name, column) for column in columns.values()]
        lines.append([f"`{name}`", *cells, runs_cell(rows, name)])
        if name in printed:
            row = printed[name]
            marks = "".join(f" ({notes.index(note) + 1})" for note in row.notes)
            numbers = [_printed(row.values.get(column)) for column in columns]
            lines.append([f"*paper: {row.name}*{marks}", *numbers, "?"])
    headings = ["variant", *(column.title for column in columns.values()), "runs"]
    text = markdown(headings, lines)
    if paper is not None and own.paper is not None:
        marks = "".join(f" ({notes.index(note) + 1})" for note in table.notes)
        text += ["", f"The paper's rows: {table.source}{marks}."]
        for number, note in enumerate(notes, start=1):
            text.append(f"({number}) {paper.notes[note].strip()}")
    return "\n".join([*text, *provenance_lines(settings, preset, dataset, rows.all())])


def _find(paper: Paper, wanted: PaperRows) -> tuple[PaperTable, dict[str, PaperRow]]:
    """The table with this caption, and its rows by variant."""
    captions = {table.caption: table for table in paper.tables}
    check_known("paper.table", [wanted.table], captions)
    table = captions[wanted.table]
    by_name = {row.name: row for row in table.rows}
    check_known("paper.rows", wanted.rows.values(), by_name)
    return table, {variant: by_name[name] for variant, name in wanted.rows.items()}


def _cell(rows: Rows, variant: str, column: PaperColumn) -> str:
    """The spread of a metric, and the number of runs if not all of them have it."""
    if column.metric is None:
        return ""
    results = rows.finished(variant)
    found = [value for value in map(metric(column.metric), results) if value is not None]
    text = spread([value * column.factor for value in found])
    is_whole = len(found) in (0, len(results))
    return text if is_whole else f"{text} ({len(found)} of {len(results)})"


def spread(values: Sequence[float]) -> str:
    """`97.25 ± 0.31`: mean and sample deviation of runs; empty without values."""
    if not values:
        return ""
    mean = f"{math.fsum(values) / len(values):.4g}"
    return f"{mean} ± {statistics.stdev(values):.2g}" if len(values) > 1 else mean


def _printed(value: Sequence[float] | None) -> str:
    return "" if value is None else " ± ".join(f"{part:g}" for part in value)


CLASSIFICATION = "classification"
MAIN_CLASSIFIER = "linear"


def make_blocks(
    settings: ReproductionSettings, preset: Preset, results: Iterable[Result]
) -> dict[str, str]:
    """The text of every table by name (`planes/controls`), and the `summary` of all results.

    Only results made with the overrides of the settings count.
    """
    current = [result for result in results if is_current(settings, preset, result)]
    blocks = {"summary": summary(settings, preset, current)}
    stated = find_method(settings.method).metrics if settings.method is not None else ()
    for dataset in settings.datasets:
        of_dataset = [result for result in current if result["dataset"] == dataset]
        own = settings.datasets[dataset]
        if own.columns or own.paper is not None:
            chosen = [name for name in settings.variants if settings.has(dataset, name)]
            rows = select(settings, preset, dataset, of_dataset, chosen)
            blocks[f"{dataset}/results"] = results_block(settings, preset, dataset, rows)
            continue
        tables = {table: settings.table_variants(table, dataset) for table in settings.tables}
        for table, variants in tables.items():
            if len(variants) > 1:
                rows = select(settings, preset, dataset, of_dataset, variants)
                lines = [
                    *metrics_table(rows, stated),
                    *provenance_lines(settings, preset, dataset, rows.all()),
                ]
                blocks[f"{dataset}/{table}"] = "\n".join(lines)
        variants = [name for name in settings.variants if settings.has(dataset, name)]
        lines = classification_table(select(settings, preset, dataset, of_dataset, variants))
        blocks[f"{dataset}/{CLASSIFICATION}"] = "\n".join(lines)
    return blocks


def is_current(settings: ReproductionSettings, preset: Preset, result: Result) -> bool:
    """Whether a result was made with the current overrides of the settings."""
    dataset, variant = result["dataset"], result["variant"]
    if dataset not in settings.datasets or variant not in settings.variants:
        return False
    if not settings.has(dataset, variant):
        return False
    run = plan_run(settings, preset, dataset, variant, result["seed"])
    return result["digest"] in run.digests


def metrics_table(rows: Rows, stated: Sequence[Metric]) -> list[str]:
    """Variants x the metrics of a method in Markdown."""
    finished = [result for name in rows.results for result in rows.finished(name)]
    columns = columns_of(finished, stated)
    lines = []
    for name in rows.results:
        finished = rows.finished(name)
        cells = []
        for column, value_of in columns:
            values = [value for r in finished if (value := value_of(r)) is not None]
            text = cell(values, column.digits, column.statistic, rows.num_planned(name))
            cells.append(text if finished else runs_cell(rows, name))
        lines.append([f"`{name}`", *cells, runs_cell(rows, name)])
    return markdown(["variant", *(column.heading for column, _ in columns), "runs"], lines)


def classification_table(rows: Rows) -> list[str]:
    """Markdown table of the linear probe's accuracy: a row per variant and feature, a column per
    pose of the labelled images and fraction of labels."""
    entries: dict[tuple[str, str], dict[tuple[str, float], list[float]]] = {}
    for name in rows.results:
        for result in rows.finished(name):
            for row in result.get("classification", []):
                if row["classifier"] == MAIN_CLASSIFIER and "accuracy" in row:
                    cells = entries.setdefault((name, row["feature"]), {})
                    key = (row["labels"], row["fraction"])
                    cells.setdefault(key, []).append(row["accuracy"])
    if not entries:
        return [NOT_RUN]
    keys = sorted({key for cells in entries.values() for key in cells})
    lines = [
        [f"`{variant}`", f"`{feature}`"]
        + [cell(cells.get(key, []), 3, "mean", rows.num_planned(variant)) for key in keys]
        for (variant, feature), cells in entries.items()
    ]
    headings = [f"{labels}, {fraction:.0%} of labels" for labels, fraction in keys]
    return markdown(["variant", "feature", *headings], lines)


def summary(settings: ReproductionSettings, preset: Preset, results: Sequence[Result]) -> str:
    """Datasets x numbers of runs by their state."""
    lines = []
    for dataset in settings.datasets:
        of_dataset = [result for result in results if result["dataset"] == dataset]
        variants = [name for name in settings.variants if settings.has(dataset, name)]
        rows = select(settings, preset, dataset, of_dataset, variants)
        num_planned = sum(rows.num_planned(name) for name in variants)
        states = [result["state"] for result in of_dataset]
        counts = [str(states.count(state)) for state in ("finished", "collapsed", "non_finite")]
        lines.append([f"`{dataset}`", str(num_planned), *counts, str(num_planned - len(states))])
    headings = ["dataset", "planned", "finished", "collapsed", "loss not finite", NOT_RUN]
    return "\n".join(markdown(headings, lines))
