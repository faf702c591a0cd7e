"""The pages that compare with a paper's numbers, and of speed."""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch.reports.collecting import show
from launch.reports.html.curves import Cost, total
from launch.reports.html.gathering import Gathered, RunRecord
from launch.reports.html.names import duration, number, spread
from launch.reports.html.report import Report
from launch.reports.papers import PaperRow, PaperTable
from launch.reports.seed_summary import Cell, over_seeds, value_of


@dataclass(frozen=True)
class Beside:
    """A paper's row and ours: cells by column in the paper's unit, over `num_runs` runs.

    Without cells where these are of different code.
    """

    row: PaperRow
    ours: dict[str, Cell]
    num_runs: int
    is_mixed: bool = False


def belongs(match: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Whether the facts of a run match all conditions of a row; False for a row without
    conditions."""
    return bool(match) and all(
        key in facts and _agrees(wanted, facts[key]) for key, wanted in match.items()
    )


def beside(table: PaperTable, gathered: Gathered, split: str) -> list[Beside]:
    """Each row of a table with our finished runs that match it."""
    facts = [(record, record.facts) for record in gathered.records if record.run.is_finished]
    found = []
    for row in table.rows:
        ours = [record for record, own in facts if belongs(row.match, own)]
        is_mixed = len({gathered.codes[record.number] for record in ours}) > 1
        cells = {} if is_mixed else _cells(table, ours, split)
        found.append(Beside(row, cells, len(ours), is_mixed))
    return found


def _cells(table: PaperTable, records: Sequence[RunRecord], split: str) -> dict[str, Cell]:
    cells = {}
    for name, column in table.columns.items():
        if column.metric is None:
            continue
        values = [value_of(record.run, column.metric, split) for record in records]
        numbers = [value * column.factor for value in values if value is not None]
        if numbers:
            cells[name] = over_seeds(numbers)
    return cells


def _agrees(wanted: Any, value: Any) -> bool:
    if wanted == "*":
        return value is not None
    if isinstance(wanted, list | tuple) and not isinstance(value, list | tuple):
        return any(_agrees(one, value) for one in wanted)
    if isinstance(wanted, str) and isinstance(value, str):
        return fnmatch.fnmatchcase(value, wanted)
    return show(wanted) == show(value)


Context = dict[str, Any]


def paper_page(report: Report) -> Context:
    """The values for the page of the paper's numbers and ours."""
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
        "heading": "The paper's numbers next to ours",
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
            {
                "name": one.row.name,
                "notes": one.row.notes,
                "cells": cells,
                "num_runs": one.num_runs,
                "is_mixed": one.is_mixed,
            }
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


SPEED_MEANINGS = (
    ("samples/s", "Median over the logged intervals, without validation and checkpoints."),
    ("data wait", "Share of the time that training waited for the loader, mean over the log."),
    ("memory", "The highest resident memory of the first rank, and of its GPU."),
    ("work", "Wall-clock time of training, validation and checkpoints without restarts."),
    (
        "lost",
        "Wall-clock time between the last line of one process and the first of the next,"
        " minus the usual time of the steps between them: repeated steps, start-up and waiting"
        " in the queue.",
    ),
    (
        "waiting",
        "The part of the lost time that lies between the end of an attempt and the start of the"
        " next.",
    ),
    (
        "rank-hours",
        "Hours of all ranks together: from the start to the end of every attempt if a launcher"
        " recorded them, otherwise work times ranks. With GPUs, each rank has one.",
    ),
)


def speed_page(report: Report) -> Context:
    """The values for the page of costs."""
    order = {record.number: position for position, record in enumerate(report.ranked)}
    costs = sorted(report.costs, key=lambda cost: order[cost.record.number])
    sums = total(costs)
    speeds = [cost.samples_per_second for cost in costs if cost.samples_per_second]
    waits = [cost.wait_share for cost in costs if cost.wait_share is not None]
    tiles = [
        ("GPU-hours", number(sums.gpu_hours, 3) if sums.gpu_hours else "none"),
        ("rank-hours on processors", number(sums.cpu_hours, 3)),
        ("restarts", str(sums.num_restarts)),
        ("lost to restarts", duration(sums.lost_hours)),
    ]
    if speeds:
        tiles.insert(0, ("samples/s, median of runs", number(sorted(speeds)[len(speeds) // 2])))
    if waits:
        tiles.append(("data wait, mean", f"{100 * sum(waits) / len(waits):.1f}%"))
    titles = (
        *("samples/s", "data wait", "memory, MiB", "GPU memory, MiB", "ranks"),
        *("work", "restarts", "lost", "waiting", "rank-hours"),
    )
    columns = [{"title": "run", "numeric": False}]
    columns += [{"title": title, "numeric": True} for title in titles]
    columns += [{"title": "device", "numeric": False}]
    return {
        "tiles": [{"name": name, "value": value} for name, value in tiles],
        "caption": "The cost of each run; a dash stands for an unknown value.",
        "columns": [{"direction": None, "sorted": None} | column for column in columns],
        "rows": [
            {"cost": cost, "href": report.href(cost.record), "cells": _cost_cells(cost)}
            for cost in costs
        ],
        "meanings": SPEED_MEANINGS,
    }


def _cost_cells(cost: Cost) -> list[Context]:
    wait = cost.wait_share
    pairs = (
        (cost.samples_per_second, number(cost.samples_per_second)),
        (wait, "–" if wait is None else f"{100 * wait:.1f}%"),
        (cost.host_mib, number(cost.host_mib)),
        (cost.gpu_mib, number(cost.gpu_mib)),
        (cost.num_ranks, number(cost.num_ranks)),
        (cost.work_hours, duration(cost.work_hours)),
        (cost.num_restarts, str(cost.num_restarts)),
        (cost.lost_hours, duration(cost.lost_hours) if cost.num_restarts else "–"),
        (cost.waiting_hours, duration(cost.waiting_hours) if cost.num_restarts else "–"),
        (cost.device_hours, number(cost.device_hours, 3)),
    )
    return [{"value": value, "text": text} for value, text in pairs]
