"""Tables of results in Markdown: columns, cells over seeds, rows."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from launch.reports.papers import Paper, PaperColumn, PaperRow, PaperTable, read_paper
from launch.reproduction.cells import (
    MAIN_CLASSIFIER,
    cell,
    columns_of,
    metric,
    paired_block,
    spread,
)
from launch.reproduction.masks import compared_variants, masks_table
from launch.reproduction.plan import (
    NOT_RUN,
    Row,
    Rows,
    markdown,
    plan_run,
    runs_cell,
    select,
    shown_presets,
    shown_seeds,
)
from launch.reproduction.results import provenance_lines
from launch.reproduction.settings import (
    PaperRows,
    Preset,
    ReproductionSettings,
    VariantSettings,
    check_known,
)
from orbit.core.metrics import Metric
from pipeline.methods.table import find_method

Result = dict[str, Any]


def results_block(settings: ReproductionSettings, preset: Preset, dataset: str, rows: Rows) -> str:
    """The table of a dataset with `columns` or `paper`, in Markdown.

    Columns that lead come before the paper's. If the paper has a row for a variant, it follows
    ours, with footnotes on faults of its numbers.
    Raises ValueError for a table or row that the paper does not have.
    """
    own = settings.datasets[dataset]
    columns = {**own.leading, **own.columns}
    printed, notes = dict[str, PaperRow](), list[str]()
    paper = None if own.paper is None else read_paper(str(settings.paper))
    if paper is not None and own.paper is not None:
        table, printed = _find(paper, own.paper)
        columns = {**own.leading, **table.columns, **own.columns}
        notes = [*table.notes]
        for row in rows.results:
            notes += printed[row.variant].notes if row.variant in printed else ()
        notes = list(dict.fromkeys(notes))
    lines = []
    last = {row.variant: row for row in rows.results}
    for row in rows.results:
        cells = [_cell(rows, row, column) for column in columns.values()]
        lines.append([row.code, *cells, runs_cell(rows, row)])
        if row.variant in printed and row == last[row.variant]:
            theirs = printed[row.variant]
            marks = "".join(f" ({notes.index(note) + 1})" for note in theirs.notes)
            numbers = [_printed(theirs.values.get(column)) for column in columns]
            lines.append([f"*paper: {theirs.name}*{marks}", *numbers, "?"])
    headings = ["variant", *(column.title for column in columns.values()), "runs"]
    text = markdown(headings, lines)
    if paper is not None and own.paper is not None:
        marks = "".join(f" ({notes.index(note) + 1})" for note in table.notes)
        text += ["", f"The paper's rows: {table.source}{marks}."]
        for number, note in enumerate(notes, start=1):
            text.append(f"({number}) {paper.notes[note].strip()}")
    if own.floors:
        text += ["", floors_line(own.floors, rows)]
    return "\n".join([*text, *provenance_lines(settings, preset, dataset, rows.all())])


def short_block(settings: ReproductionSettings, dataset: str, rows: Rows) -> str:
    """The rows that have results, in the columns that `short` names."""
    own = settings.datasets[dataset]
    columns = [own.columns[name] for name in own.short]
    lines = [
        [row.code, *(_cell(rows, row, column) for column in columns)]
        for row in rows.results
        if rows.finished(row)
    ]
    if not lines:
        return NOT_RUN
    return "\n".join(markdown(["method", *(column.title for column in columns)], lines))


def floors_line(floors: Sequence[PaperColumn], rows: Rows) -> str:
    """What any guess would have: means over all runs, which differ by rounding at most."""
    finished = [result for row in rows.results for result in rows.finished(row)]
    parts = []
    for column in floors:
        values = [v for v in map(metric(str(column.metric)), finished) if v is not None]
        if values:
            parts.append(f"{column.title} {column.factor * sum(values) / len(values):.3g}")
    return f"Without a method: {', '.join(parts)}." if parts else "Floors: not run."


def _find(paper: Paper, wanted: PaperRows) -> tuple[PaperTable, dict[str, PaperRow]]:
    """The table with this caption, and its rows by variant."""
    captions = {table.caption: table for table in paper.tables}
    check_known("paper.table", [wanted.table], captions)
    table = captions[wanted.table]
    by_name = {row.name: row for row in table.rows}
    check_known("paper.rows", wanted.rows.values(), by_name)
    return table, {variant: by_name[name] for variant, name in wanted.rows.items()}


def _cell(rows: Rows, row: Row, column: PaperColumn) -> str:
    """The spread of a metric, and the number of runs if not all of them have it."""
    if column.metric is None:
        return ""
    results = rows.finished(row)
    found = [value for value in map(metric(column.metric), results) if value is not None]
    text = spread([value * column.factor for value in found])
    is_whole = len(found) in (0, len(results))
    return text if is_whole else f"{text} ({len(found)} of {len(results)})"


def _printed(value: Sequence[float] | None) -> str:
    return "" if value is None else " ± ".join(f"{part:g}" for part in value)


CLASSIFICATION = "classification"


def make_blocks(
    settings: ReproductionSettings,
    preset: Preset,
    results: Iterable[Result],
    masks: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, str]:
    """The text of every table by name (`planes/controls`), the `summary` of all results, and their
    `matrix` of variants and datasets.

    Only results made with the overrides of the settings count. `masks` are comparisons of masks by
    dataset and variant.
    """
    current = current_results(settings, preset, results)
    settings = with_guests(settings, current)
    blocks = {
        "summary": summary(settings, preset, current),
        "matrix": matrix(settings, preset, current),
    }
    stated = find_method(settings.method).metrics if settings.method is not None else ()
    for dataset in settings.datasets:
        of_dataset = [result for result in current if result["dataset"] == dataset]
        own = settings.datasets[dataset]
        compared = compared_variants(settings, preset, dataset)
        if compared:
            found = (masks or {}).get(dataset, {})
            blocks[f"{dataset}/masks"] = masks_table(found, compared)
        if own.columns or own.paper is not None:
            chosen = [name for name in settings.variants if settings.has(dataset, name)]
            rows = select(settings, preset, dataset, of_dataset, chosen)
            blocks[f"{dataset}/results"] = results_block(settings, preset, dataset, rows)
            if own.short:
                blocks[f"{dataset}/short"] = short_block(settings, dataset, rows)
            if own.classify or (own.classify is None and settings.classify):
                blocks[f"{dataset}/{CLASSIFICATION}"] = "\n".join(classification_table(rows))
            blocks |= paired_block(settings, dataset, rows)
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
        rows = select(settings, preset, dataset, of_dataset, variants)
        blocks[f"{dataset}/{CLASSIFICATION}"] = "\n".join(classification_table(rows))
        blocks |= paired_block(settings, dataset, rows)
    return blocks


def current_results(
    settings: ReproductionSettings, preset: Preset, results: Iterable[Result]
) -> list[Result]:
    """Those that were made with the current overrides."""
    return [result for result in results if is_current(settings, preset, result)]


def is_current(settings: ReproductionSettings, preset: Preset, result: Result) -> bool:
    """Whether a result was made with the current overrides of the settings, but for the probe's
    labels, and in bf16 or in fp32 instead of it."""
    dataset, variant = result["dataset"], result["variant"]
    if dataset not in settings.datasets:
        return False
    if variant not in settings.variants:
        return settings.guests and is_measured_alike(settings, preset, result)
    if not settings.has(dataset, variant):
        return False
    plans = [
        plan_run(settings, name, dataset, variant, result["seed"])
        for name in settings.presets_of(dataset, shown_presets(preset))
    ]
    return any(
        dataclasses.replace(run, has_bf16=has_bf16).made(result, any_classification=True)
        for run in plans
        for has_bf16 in (True, False)
    )


def is_measured_alike(
    settings: ReproductionSettings, preset: Preset, result: Mapping[str, Any]
) -> bool:
    """Whether another package's variant was prepared and evaluated as its dataset says."""
    dataset, words = result["dataset"], result.get("words", {})
    some = next(iter(settings.variants))
    plans = [
        plan_run(settings, name, dataset, some, result["seed"])
        for name in settings.presets_of(dataset, shown_presets(preset))
    ]
    made = (words.get("prepare"), words.get("evaluate"))
    return any(made == (list(run.prepare), list(run.evaluate)) for run in plans)


def with_guests(settings: ReproductionSettings, results: Iterable[Result]) -> ReproductionSettings:
    """The settings with the variants of results that they do not list, in the order of names."""
    datasets: dict[str, list[str]] = {}
    for result in results:
        if result["variant"] not in settings.variants:
            datasets.setdefault(result["variant"], []).append(result["dataset"])
    guests = {
        name: VariantSettings(datasets=tuple(dict.fromkeys(datasets[name])))
        for name in sorted(datasets)
    }
    return dataclasses.replace(settings, variants={**settings.variants, **guests})


def metrics_table(rows: Rows, stated: Sequence[Metric]) -> list[str]:
    """Variants x the metrics of a method in Markdown."""
    finished = [result for row in rows.results for result in rows.finished(row)]
    columns = columns_of(finished, stated)
    lines = []
    for row in rows.results:
        finished = rows.finished(row)
        cells = []
        for column, value_of in columns:
            values = [value for r in finished if (value := value_of(r)) is not None]
            text = cell(values, column.digits, column.statistic, rows.num_planned(row))
            cells.append(text if finished else runs_cell(rows, row))
        lines.append([row.code, *cells, runs_cell(rows, row)])
    return markdown(["variant", *(column.heading for column, _ in columns), "runs"], lines)


def classification_table(rows: Rows) -> list[str]:
    """Markdown table of the linear probe's accuracy: a row per variant and feature, a column per
    pose of the labelled images and fraction of labels.

    Pixels do not depend on a run: of runs with the same labelled images one counts.
    """
    entries: dict[tuple[Row, str], dict[tuple[str, float], list[float]]] = {}
    for row in rows.results:
        drawn = set[str]()
        for result in rows.finished(row):
            labels = labels_of(result)
            for entry in result.get("classification", []):
                is_known = entry["feature"] == "pixels" and labels in drawn
                if entry["classifier"] == MAIN_CLASSIFIER and "accuracy" in entry and not is_known:
                    cells = entries.setdefault((row, entry["feature"]), {})
                    key = (entry["labels"], entry["fraction"])
                    cells.setdefault(key, []).append(entry["accuracy"])
            drawn.add(labels)
    if not entries:
        return [NOT_RUN]
    keys = sorted({key for cells in entries.values() for key in cells})
    lines = [
        [row.code, f"`{feature}`"]
        + [cell(cells.get(key, []), 3, "mean", rows.num_planned(row)) for key in keys]
        for (row, feature), cells in entries.items()
    ]
    headings = [f"{labels}, {fraction:.0%} of labels" for labels, fraction in keys]
    return markdown(["variant", "feature", *headings], lines)


def labels_of(result: Result) -> str:
    """The override of a result's probe that says which images are labelled."""
    classify = result.get("words", {}).get("classify", ())
    named = [override for override in classify if override.startswith("seeds=")]
    return named[-1] if named else f"seeds=[{result['seed']}]"


NOT_APPLICABLE = "not applicable"


def matrix(settings: ReproductionSettings, preset: Preset, results: Sequence[Result]) -> str:
    """Variants x datasets: how many of the planned runs are done, or that there are none."""
    lines = []
    for variant in settings.variants:
        cells = []
        for dataset in settings.datasets:
            if not settings.has(dataset, variant):
                cells.append(NOT_APPLICABLE)
                continue
            rows = select(
                settings,
                preset,
                dataset,
                [result for result in results if result["dataset"] == dataset],
                [variant],
            )
            cells.append("; ".join(runs_cell(rows, row) for row in rows.results))
        lines.append([f"`{variant}`", *cells])
    return "\n".join(markdown(["variant", *(f"`{name}`" for name in settings.datasets)], lines))


def summary(settings: ReproductionSettings, preset: Preset, results: Sequence[Result]) -> str:
    """Datasets x numbers of runs by their state."""
    lines = []
    for dataset in settings.datasets:
        of_dataset = [result for result in results if result["dataset"] == dataset]
        variants = [name for name in settings.variants if settings.has(dataset, name)]
        planned = {
            (name, seed)
            for name in variants
            for seed in shown_seeds(settings, preset, dataset, name)
        }
        num_planned = len(planned | {(each["variant"], each["seed"]) for each in of_dataset})
        states = [result["state"] for result in of_dataset]
        counts = [str(states.count(state)) for state in ("finished", "collapsed", "non_finite")]
        lines.append([f"`{dataset}`", str(num_planned), *counts, str(num_planned - len(states))])
    headings = ["dataset", "planned", "finished", "collapsed", "loss not finite", NOT_RUN]
    return "\n".join(markdown(headings, lines))
