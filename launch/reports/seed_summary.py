"""Mean and deviation over seeds at every point of a sweep.

A point is one choice of all keys that vary between the runs, except the seed.
"""

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from launch.reports.collecting import Evaluation, Run, Table, show, stated_by, varied_keys
from orbit.core.config.schema import suggestion
from orbit.core.metrics import Direction, Metric, statement_of


@dataclass(frozen=True)
class Point:
    """One choice of the varied keys; `std` is null for one seed."""

    settings: dict[str, Any]
    mean: float
    std: float | None
    num_seeds: int
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """Finished runs at every point. `best` is the index of the best point, if there is one."""

    metric: str
    split: str
    direction: Direction | None
    points: tuple[Point, ...]
    best: int | None
    notes: tuple[str, ...]


def summarise(runs: list[Run], metric: str, split: str | None) -> Summary:
    """Mean and sample standard deviation of a metric over the seeds at every point.

    A finished run counts once: with its best step if that was evaluated, else with its last.
    `split` None means test if a finished run was evaluated on it, else val. Raises ValueError for a
    metric or split that no finished run has.
    """
    finished = [run for run in runs if run.is_finished]
    splits = {each.split for run in finished for each in run.evaluations if each.is_own_data}
    if split is not None and splits and split not in splits:
        raise ValueError(f"no finished run has split={split}; known: {', '.join(sorted(splits))}")
    split = split or ("test" if "test" in splits else "val")
    names = [name for run in finished for each in _of_split(run, split) for name in each.metrics]
    if names and metric not in names:
        known = list(dict.fromkeys(names))
        hint = suggestion(metric, known).replace("allowed", "known")
        raise ValueError(f"no finished run has metric={metric} on split={split}{hint}")

    keys = varied_keys(runs)
    origin = len({run.dataset for run in runs if run.dataset}) > 1
    groups: dict[str, tuple[dict[str, Any], dict[str, tuple[str, float]]]] = {}
    notes, num_without = [], 0
    for run in finished:
        value = value_of(run, metric, split)
        if value is None:
            num_without += 1
            continue
        settings = {key: run.config[key] for key in keys if key in run.config}
        settings |= {"dataset": (run.dataset or "")[:8]} if origin else {}
        _, by_seed = groups.setdefault(json.dumps(settings, default=str), (settings, {}))
        seed = show(run.config.get("seed"))
        if seed in by_seed:
            first = by_seed[seed][0]
            notes.append(f"not counted, settings and seed of {first}: {run.name}")
        by_seed.setdefault(seed, (run.name, value))
    if num_without:
        notes.append(f"not counted, without {metric} on {split}: {num_without}")
    if len(finished) < len(runs):
        notes.append(f"not counted, unfinished: {len(runs) - len(finished)}")
    points = [_point(settings, by_seed) for settings, by_seed in groups.values()]
    points.sort(key=lambda point: [_order(point.settings.get(key)) for key in (*keys, "dataset")])
    direction = direction_of(metric, stated_by(runs))
    return Summary(metric, split, direction, tuple(points), _best(points, direction), tuple(notes))


def direction_of(metric: str, stated: Iterable[Metric]) -> Direction | None:
    """Whether higher or lower values of a metric are better, None where that is not known."""
    statement = statement_of(metric, stated)
    return None if statement is None else statement.direction


def _of_split(run: Run, split: str) -> list[Evaluation]:
    return [each for each in run.evaluations if each.split == split and each.is_own_data]


def value_of(run: Run, metric: str, split: str) -> float | None:
    """The metric at the best step if that was evaluated, else at the last step that was."""
    found = [each for each in _of_split(run, split) if metric in each.metrics]
    if not found:
        return None
    chosen = max(found, key=lambda each: (each.step == run.best_step, each.step))
    try:
        return float(chosen.metrics[metric])
    except (TypeError, ValueError):
        return None


def _point(settings: dict[str, Any], by_seed: dict[str, tuple[str, float]]) -> Point:
    values = [value for _, value in by_seed.values()]
    num = len(values)
    mean = math.fsum(values) / num if all(map(math.isfinite, values)) else math.nan
    spread = math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (num - 1)) if num > 1 else None
    return Point(settings, mean, spread, num, tuple(name for name, _ in by_seed.values()))


def _best(points: list[Point], direction: Direction | None) -> int | None:
    sign = -1 if direction == "higher" else 1
    indices = [index for index, point in enumerate(points) if math.isfinite(point.mean)]
    if direction is None or not indices:
        return None
    return min(indices, key=lambda index: sign * points[index].mean)


def _order(value: Any) -> tuple[int, float, str]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return (0, float(value), "") if is_number else (1, 0.0, show(value))


def as_text(summary: Summary) -> str:
    """The summary for a terminal."""
    if not summary.points:
        return "\n".join(["nothing to compare yet", *summary.notes])
    better = f"{summary.direction} is better" if summary.direction else "direction not known"
    keys = list(dict.fromkeys(key for point in summary.points for key in point.settings))
    lines = [[*keys, "mean", "std", "seeds"]]
    for point in summary.points:
        values = [show(point.settings[key]) if key in point.settings else "" for key in keys]
        std = f"{point.std:.4g}" if point.std is not None else "-"
        lines.append([*values, f"{point.mean:.6g}", std, str(point.num_seeds)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [f"{summary.metric} on {summary.split}, {better}; over seeds:"]
    for line in lines:
        cells = [
            cell.ljust(width) if index < len(keys) else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  " + "  ".join(cells).rstrip())
    if summary.best is not None:
        settings = summary.points[summary.best].settings
        named = " ".join(f"{key}={show(value)}" for key, value in settings.items())
        text.append(f"best: {named or 'all runs have the same settings'}")
    return "\n".join([*text, *summary.notes])


def as_plain(table: Table, summary: Summary) -> dict[str, Any]:
    """Both as values for JSON; non-finite numbers are null."""
    plain = {
        "columns": table.columns,
        "rows": table.rows,
        "summary": dataclasses.asdict(summary),
    }
    return {key: _finite(value) for key, value in plain.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
