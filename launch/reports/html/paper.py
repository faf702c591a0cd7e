"""Our runs that stand beside a paper's numbers."""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch.reports.collecting import show
from launch.reports.html.gathering import Gathered, RunRecord
from launch.reports.html.headline import Cell, over_runs
from launch.reports.papers import PaperRow, PaperTable
from launch.reports.seed_summary import value_of


@dataclass(frozen=True)
class Beside:
    """A paper's row and ours: cells by column in the paper's unit, over `num_runs` runs."""

    row: PaperRow
    ours: dict[str, Cell]
    num_runs: int


def belongs(match: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Whether facts of a run agree with all that a row asks for; never without anything."""
    return bool(match) and all(
        key in facts and _agrees(wanted, facts[key]) for key, wanted in match.items()
    )


def beside(table: PaperTable, gathered: Gathered, split: str) -> list[Beside]:
    """Each row of a table with our finished runs that belong to it."""
    facts = [(record, record.facts) for record in gathered.records if record.run.is_finished]
    found = []
    for row in table.rows:
        ours = [record for record, own in facts if belongs(row.match, own)]
        found.append(Beside(row, _cells(table, ours, split), len(ours)))
    return found


def _cells(table: PaperTable, records: Sequence[RunRecord], split: str) -> dict[str, Cell]:
    cells = {}
    for name, column in table.columns.items():
        if column.metric is None:
            continue
        values = [value_of(record.run, column.metric, split) for record in records]
        numbers = [value * column.factor for value in values if value is not None]
        if numbers:
            cells[name] = over_runs(numbers)
    return cells


def _agrees(wanted: Any, value: Any) -> bool:
    if wanted == "*":
        return value is not None
    if isinstance(wanted, list | tuple) and not isinstance(value, list | tuple):
        return any(_agrees(one, value) for one in wanted)
    if isinstance(wanted, str) and isinstance(value, str):
        return fnmatch.fnmatchcase(value, wanted)
    return show(wanted) == show(value)
