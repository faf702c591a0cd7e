"""The page of a paper's numbers beside ours."""

from typing import Any

from launch.reports.html.names import spread
from launch.reports.html.paper import beside
from launch.reports.html.report import Report
from launch.reports.papers import PaperTable

Context = dict[str, Any]


def paper_page(report: Report) -> Context:
    """The paper's numbers beside ours."""
    paper = report.paper
    assert paper is not None
    used = [
        key
        for table in paper.tables
        for key in (*table.notes, *(n for r in table.rows for n in r.notes))
    ]
    order = list(dict.fromkeys([*used, *paper.notes]))
    numbers = {key: place for place, key in enumerate(order, start=1)}
    return {
        "heading": "The paper's numbers beside ours",
        "paper": paper,
        "split": report.headline.split,
        "note_numbers": numbers,
        "notes": [(key, paper.notes[key]) for key in order],
        "tables": [_paper_table(report, table) for table in paper.tables],
    }


def _paper_table(report: Report, table: PaperTable) -> Context:
    rows = []
    for one in beside(table, report.gathered, report.headline.split):
        cells = []
        for name in table.columns:
            printed, ours = one.row.values.get(name), one.ours.get(name)
            cells.append(
                {
                    "paper": "–" if printed is None else _printed(printed),
                    "ours": "–" if ours is None else spread(ours.mean, ours.std),
                }
            )
        rows.append(
            {"name": one.row.name, "notes": one.row.notes, "cells": cells, "num_runs": one.num_runs}
        )
    return {
        "caption": table.caption,
        "source": table.source,
        "notes": table.notes,
        "columns": list(table.columns.values()),
        "rows": rows,
    }


def _printed(value: tuple[float, ...]) -> str:
    return " ± ".join(f"{part:g}" for part in value)
