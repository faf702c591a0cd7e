"""The table of what matters: mean and spread over seeds at every point of the settings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch.reports.collecting import Run
from launch.reports.html.gathering import DATASET, Gathered, RunRecord
from launch.reports.html.names import HEADLINES
from launch.reports.seed_summary import Direction, Summary, direction_of, summarise, value_of
from pipeline.config.schema import suggestion

MAX_METRICS = 8


@dataclass(frozen=True)
class Cell:
    """A metric at a point over its seeds; `std` None for one seed."""

    mean: float
    std: float | None
    num_seeds: int


@dataclass(frozen=True)
class Row:
    """One choice of settings: its runs in order of the report, and cells by metric."""

    settings: dict[str, Any]
    records: tuple[RunRecord, ...]
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Headline:
    """Rows by dataset, then by the main metric, best first.

    `best` are the runs that did best at that, one for each dataset.
    """

    metric: str
    split: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    best: tuple[RunRecord, ...]
    notes: tuple[str, ...]

    @property
    def direction(self) -> Direction | None:
        """Which values of the main metric are better."""
        return direction_of(self.metric)


def choose_split(runs: Sequence[Run], split: str | None) -> str:
    """`split` if a run was evaluated on it; without a wish test if there is any, else val.

    Raises ValueError for a split that no finished run has, where there are finished runs.
    """
    splits = {each.split for run in runs for each in run.evaluations if each.is_own_data}
    if split is not None and splits and split not in splits:
        raise ValueError(f"no finished run has split={split}; known: {', '.join(sorted(splits))}")
    return split or ("test" if "test" in splits else "val")


def choose_metrics(names: Sequence[str], main: str | None) -> tuple[str, ...]:
    """The main metric, then the usual ones, then others with a direction, whole before parts.

    Raises ValueError for a main metric that was not measured, where anything was.
    """
    if main is not None and names and main not in names:
        hint = suggestion(main, list(names)).replace("allowed", "known")
        raise ValueError(f"no finished run has metric={main}{hint}")
    others = [name for name in names if name not in HEADLINES and direction_of(name)]
    others.sort(key=lambda name: ("/" in name, names.index(name)))
    ranked = [name for name in (main, *HEADLINES, *others) if name is not None and name in names]
    return tuple(dict.fromkeys(ranked))[:MAX_METRICS]


def make_headline(gathered: Gathered, metric: str | None, split: str | None) -> Headline:
    """The table of all finished runs; without rows where none is finished."""
    runs = [record.run for record in gathered.records if record.has_config]
    finished = [run for run in runs if run.is_finished]
    split = choose_split(finished, split)
    names = list(
        dict.fromkeys(
            name
            for run in finished
            for each in run.evaluations
            if each.split == split and each.is_own_data
            for name in each.metrics
        )
    )
    metrics = choose_metrics(names, metric)
    if not metrics:
        return Headline(metric or HEADLINES[0], split, (), (), (), ())
    summaries = {name: summarise(runs, name, split) for name in metrics}
    rows = _rows(gathered, summaries)
    main = metrics[0]
    direction = direction_of(main)
    if direction is not None:
        means = {id(row): row.cells[main].mean if main in row.cells else None for row in rows}
        rows.sort(key=lambda row: _rank(means[id(row)], direction))
    # Values on different datasets do not compare.
    rows.sort(key=lambda row: str(row.settings.get(DATASET, "")))
    by_dataset: dict[str, list[RunRecord]] = {}
    for row in rows:
        by_dataset.setdefault(str(row.settings.get(DATASET, "")), []).extend(row.records)
    return Headline(
        metric=main,
        split=split,
        metrics=metrics,
        rows=tuple(rows),
        best=tuple(best_run(own, main, split) for own in by_dataset.values()),
        notes=summaries[main].notes,
    )


def _rows(gathered: Gathered, summaries: Mapping[str, Summary]) -> list[Row]:
    """The points of all metrics, those of equal settings as one row."""
    by_name = {record.name: record for record in gathered.records}
    cells: dict[str, dict[str, Cell]] = {}
    records: dict[str, dict[str, RunRecord]] = {}
    for metric, summary in summaries.items():
        for point in summary.points:
            key = repr(point.settings)
            cells.setdefault(key, {})[metric] = Cell(point.mean, point.std, point.num_seeds)
            records.setdefault(key, {}).update({name: by_name[name] for name in point.runs})
    return [
        Row(gathered.settings(next(iter(records[key].values()))), tuple(records[key].values()), own)
        for key, own in cells.items()
    ]


def best_run(records: Sequence[RunRecord], metric: str, split: str) -> RunRecord:
    """The run with the best value of at least one, the first where that cannot be told."""
    direction = direction_of(metric)
    values = {record.number: value_of(record.run, metric, split) for record in records}
    able = [record for record in records if values[record.number] is not None]
    if direction is None or not able:
        return records[0]
    return min(able, key=lambda record: _rank(values[record.number], direction))


def over_runs(values: Sequence[float]) -> Cell:
    """Mean and sample standard deviation of at least one value."""
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Cell(mean, None, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return Cell(mean, math.sqrt(variance), len(values))


def _rank(value: float | None, direction: Direction) -> tuple[bool, float]:
    """Sorts better values first, and none or NaN last."""
    if value is None or math.isnan(value):
        return True, 0.0
    return False, -value if direction == "higher" else value
