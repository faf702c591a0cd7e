"""Tables of a reproduction, made from result files alone. Pure functions."""

from collections.abc import Iterable, Sequence
from typing import Any

from launch.reproduction.columns import cell, columns_of
from launch.reproduction.paper_table import results_block
from launch.reproduction.plan import plan_run
from launch.reproduction.provenance import provenance_lines
from launch.reproduction.rows import NOT_RUN, Rows, markdown, runs_cell, select
from launch.reproduction.settings import Preset, ReproductionSettings

Result = dict[str, Any]
CLASSIFICATION = "classification"
MAIN_CLASSIFIER = "linear"


def make_blocks(
    settings: ReproductionSettings, preset: Preset, results: Iterable[Result]
) -> dict[str, str]:
    """The text of every table by name (`planes/controls`), and `summary` of what there is.

    Only results made by the words of the settings count.
    """
    current = [result for result in results if is_current(settings, preset, result)]
    blocks = {"summary": summary(settings, preset, current)}
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
                    *metrics_table(rows),
                    *provenance_lines(settings, preset, dataset, rows.all()),
                ]
                blocks[f"{dataset}/{table}"] = "\n".join(lines)
        variants = [name for name in settings.variants if settings.has(dataset, name)]
        lines = classification_table(select(settings, preset, dataset, of_dataset, variants))
        blocks[f"{dataset}/{CLASSIFICATION}"] = "\n".join(lines)
    return blocks


def is_current(settings: ReproductionSettings, preset: Preset, result: Result) -> bool:
    """Whether a result was made by the words that the settings now have."""
    dataset, variant = result["dataset"], result["variant"]
    if dataset not in settings.datasets or variant not in settings.variants:
        return False
    if not settings.has(dataset, variant):
        return False
    digest: str = result["digest"]
    return plan_run(settings, preset, dataset, variant, result["seed"]).digest == digest


def metrics_table(rows: Rows) -> list[str]:
    """Variants x metrics in Markdown."""
    columns = columns_of([result for name in rows.results for result in rows.finished(name)])
    lines = []
    for name in rows.results:
        finished = rows.finished(name)
        cells = []
        for column in columns:
            values = [value for r in finished if (value := column.value(r)) is not None]
            text = cell(values, column.digits, column.statistic, rows.num_planned(name))
            cells.append(text if finished else runs_cell(rows, name))
        lines.append([f"`{name}`", *cells, runs_cell(rows, name)])
    return markdown(["variant", *(column.heading for column in columns), "runs"], lines)


def classification_table(rows: Rows) -> list[str]:
    """Accuracy of the linear probe: variant and feature x labels and fraction."""
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
    """Datasets x what there is of their runs."""
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
