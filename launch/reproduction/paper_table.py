"""A dataset's results with the paper's rows below ours. Only the paper is read, else pure."""

import math
import statistics
from collections.abc import Sequence

from launch.reports.papers import Paper, PaperColumn, PaperRow, PaperTable, read_paper
from launch.reproduction.columns import metric
from launch.reproduction.provenance import provenance_lines
from launch.reproduction.rows import Rows, markdown, runs_cell
from launch.reproduction.settings import PaperRows, Preset, ReproductionSettings, check_known


def results_block(settings: ReproductionSettings, preset: Preset, dataset: str, rows: Rows) -> str:
    """The table of a dataset with `columns` or `paper`, in Markdown.

    Where the paper has a row for a variant it follows ours, with footnotes on what is wrong
    with its numbers. Raises ValueError for a table or row that the paper does not have.
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
    """The table of that caption, and its rows by variant."""
    captions = {table.caption: table for table in paper.tables}
    check_known("paper.table", [wanted.table], captions)
    table = captions[wanted.table]
    by_name = {row.name: row for row in table.rows}
    check_known("paper.rows", wanted.rows.values(), by_name)
    return table, {variant: by_name[name] for variant, name in wanted.rows.items()}


def _cell(rows: Rows, variant: str, column: PaperColumn) -> str:
    """The spread of a metric, and of how many runs it is where not all of them have it."""
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
