"""Mean and deviation over seeds at every point of a sweep.

A point is one choice of all keys that vary between the runs, except the seed, and one code: runs of
different code are averaged only with `any_code=true`. Points are compared only on the validation
split. Another split is shown next to it, but is not used to choose.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from launch.jobs.codes import CODE, counts, labels
from launch.reports.collecting import Evaluation, Run, Table, show, stated_by, varied_keys
from orbit.core.config.schema import suggestion
from orbit.core.metrics import Direction, Metric, statement_of

CHOOSING = "val"
"""The split that settings are chosen on."""
MEASURED_BY = "measured by"
"""The suffix of a split's name among a point's settings if different code measured there."""


@dataclass(frozen=True)
class Cell:
    """A metric over seeds; `std` None for one seed."""

    mean: float
    std: float | None
    num_seeds: int


@dataclass(frozen=True)
class Point:
    """One choice of the varied keys: its finished runs, and the metric by split."""

    settings: dict[str, Any]
    cells: dict[str, Cell]
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """Finished runs at every point. `splits` are those shown, first the one that is used to choose.

    `best` is the index of the best point, None if there is none.
    """

    metric: str
    splits: tuple[str, ...]
    direction: Direction | None
    points: tuple[Point, ...]
    best: int | None
    notes: tuple[str, ...]


def choose_split(runs: Iterable[Run], split: str | None) -> str:
    """The split to show next to validation: `split`, or test if a run was evaluated on it.

    Raises ValueError for a split that no finished run has, if there are finished runs.
    """
    finished = [run for run in runs if run.is_finished]
    splits = {each.split for run in finished for each in run.evaluations if each.is_own_data}
    if split is not None and splits and split not in splits:
        raise ValueError(f"no finished run has split={split}; known: {', '.join(sorted(splits))}")
    return split or ("test" if "test" in splits else CHOOSING)


def summarise(
    runs: list[Run], metric: str, split: str | None = None, any_code: bool = False
) -> Summary:
    """Mean and sample standard deviation of a metric over the seeds at every point.

    A finished run counts once: by its best step if that was evaluated, otherwise by its last.
    `split` is shown next to validation; None means test, if a finished run was evaluated on it.
    With `any_code` runs of different code are averaged. Raises ValueError for a metric or split
    that no finished run has.
    """
    finished = [run for run in runs if run.is_finished]
    splits = tuple(dict.fromkeys((CHOOSING, choose_split(runs, split))))
    names = {
        name
        for run in finished
        for each in splits
        for evaluation in _of_split(run, each)
        for name in evaluation.metrics
    }
    if names and metric not in names:
        hint = suggestion(metric, sorted(names)).replace("allowed", "known")
        raise ValueError(f"no finished run has metric={metric} on {' or '.join(splits)}{hint}")
    counted = [
        run for run in finished if any(value_of(run, metric, each) is not None for each in splits)
    ]
    keys, by_code = varied_keys(runs), _by_code(counted, metric, splits)
    notes = _say_codes(counted, is_mixed=bool(by_code), any_code=any_code)
    if any_code:
        by_code = {}
    origin = len({run.dataset for run in runs if run.dataset}) > 1
    groups: dict[str, tuple[dict[str, Any], dict[str, Run]]] = {}
    for run in counted:
        settings = {key: run.config[key] for key in keys if key in run.config}
        settings |= {"dataset": (run.dataset or "")[:8]} if origin else {}
        settings |= by_code.get(run.name, {})
        _, by_seed = groups.setdefault(json.dumps(settings, default=str), (settings, {}))
        seed = show(run.config.get("seed"))
        if seed in by_seed:
            notes.append(f"not counted, settings and seed of {by_seed[seed].name}: {run.name}")
        by_seed.setdefault(seed, run)
    if len(counted) < len(finished):
        num_without = len(finished) - len(counted)
        notes.append(f"not counted, without {metric} on {' or '.join(splits)}: {num_without}")
    if len(finished) < len(runs):
        notes.append(f"not counted, unfinished: {len(runs) - len(finished)}")
    points = [
        _point(settings, list(by_seed.values()), metric, splits)
        for settings, by_seed in groups.values()
    ]
    points.sort(key=lambda point: [_order(point.settings.get(key)) for key in (*keys, *LAST_KEYS)])
    direction = direction_of(metric, stated_by(runs))
    can_choose = any(CHOOSING in point.cells for point in points)
    if points and not can_choose:
        notes.append(
            f"{metric} was not measured on {CHOOSING}, which alone is used to choose, so no best is"
            f" named: evaluate with split={CHOOSING} to measure it"
        )
    best = None if by_code else _best(points, direction)
    return Summary(metric, splits, direction, tuple(points), best, tuple(notes))


LAST_KEYS = ("dataset", CODE)


def _say_codes(runs: Sequence[Run], is_mixed: bool, any_code: bool) -> list[str]:
    if not is_mixed:
        return []
    lines = [f"different code: {line}" for line in counts([run.code for run in runs])]
    what = "made" if lines else "measured"
    if any_code:
        return [*lines, f"{what} by different code, but averaged, because any_code=true"]
    mend = "" if lines else "; launch/evaluate.py with redo=true measures all with one code"
    return [
        *lines,
        f"{what} by different code: not averaged together, and no best is named"
        f" (any_code=true averages){mend}",
    ]


def _by_code(runs: Sequence[Run], metric: str, splits: Sequence[str]) -> dict[str, dict[str, str]]:
    """The entries of a point's settings about code, by run: which code made the run, and which
    measured it.

    Empty if there is only one code. The measuring code is left out if it follows from the run's
    own.
    """
    made = labels([run.code for run in runs])
    found = {
        run.name: {CODE: label} if label else {} for run, label in zip(runs, made, strict=True)
    }
    for split in splits:
        chosen = [(run, _chosen(run, metric, split)) for run in runs]
        measured = [(run, each) for run, each in chosen if each is not None]
        names = labels([each.code for _, each in measured])
        by_made: dict[str, set[str]] = {}
        for (run, _), name in zip(measured, names, strict=True):
            by_made.setdefault(found[run.name].get(CODE, ""), set()).add(name)
        if any(len(those) > 1 for those in by_made.values()):
            for (run, _), name in zip(measured, names, strict=True):
                found[run.name][f"{split} {MEASURED_BY}"] = name
    return found if any(found.values()) else {}


def direction_of(metric: str, stated: Iterable[Metric]) -> Direction | None:
    """Whether higher or lower values of a metric are better, None if that is not known."""
    statement = statement_of(metric, stated)
    return None if statement is None else statement.direction


def _of_split(run: Run, split: str) -> list[Evaluation]:
    return [each for each in run.evaluations if each.split == split and each.is_own_data]


def value_of(run: Run, metric: str, split: str) -> float | None:
    """The metric at the best step if that was evaluated, otherwise at the last evaluated step."""
    chosen = _chosen(run, metric, split)
    try:
        return None if chosen is None else float(chosen.metrics[metric])
    except (TypeError, ValueError):
        return None


def _chosen(run: Run, metric: str, split: str) -> Evaluation | None:
    found = [each for each in _of_split(run, split) if metric in each.metrics]
    return max(found, key=lambda each: (each.step == run.best_step, each.step), default=None)


def _point(
    settings: dict[str, Any], runs: Sequence[Run], metric: str, splits: Sequence[str]
) -> Point:
    cells = {}
    for split in splits:
        values = [value_of(run, metric, split) for run in runs]
        known = [value for value in values if value is not None]
        if known:
            cells[split] = over_seeds(known)
    return Point(settings, cells, tuple(run.name for run in runs))


def over_seeds(values: Sequence[float]) -> Cell:
    """Mean and sample standard deviation of at least one value; NaN if one is not finite."""
    num = len(values)
    mean = math.fsum(values) / num if all(map(math.isfinite, values)) else math.nan
    spread = math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (num - 1)) if num > 1 else None
    return Cell(mean, spread, num)


def _best(points: list[Point], direction: Direction | None) -> int | None:
    sign = -1 if direction == "higher" else 1
    means = {
        index: point.cells[CHOOSING].mean
        for index, point in enumerate(points)
        if CHOOSING in point.cells and math.isfinite(point.cells[CHOOSING].mean)
    }
    if direction is None or not means:
        return None
    return min(means, key=lambda index: sign * means[index])


def _order(value: Any) -> tuple[int, float, str]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return (0, float(value), "") if is_number else (1, 0.0, show(value))


def as_text(summary: Summary) -> str:
    """The summary for a terminal."""
    if not summary.points:
        return "\n".join(["nothing to compare yet", *summary.notes])
    better = f"{summary.direction} is better" if summary.direction else "direction not known"
    keys = list(dict.fromkeys(key for point in summary.points for key in point.settings))
    heads = [head for split in summary.splits for head in (f"{split} mean", "std", "seeds")]
    lines = [[*keys, *heads]]
    for point in summary.points:
        values = [show(point.settings[key]) if key in point.settings else "" for key in keys]
        lines.append(values + [text for each in summary.splits for text in _texts(point, each)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    beside = f", {summary.splits[1]} is next to it" if len(summary.splits) > 1 else ""
    text = [f"{summary.metric}, {better}, over seeds; {CHOOSING} chooses{beside}:"]
    for line in lines:
        cells = [
            cell.ljust(width) if index < len(keys) else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  " + "  ".join(cells).rstrip())
    if summary.best is not None:
        settings = summary.points[summary.best].settings
        named = " ".join(f"{key}={show(value)}" for key, value in settings.items())
        text.append(f"best on {CHOOSING}: {named or 'all runs have the same settings'}")
    return "\n".join([*text, *summary.notes])


def _texts(point: Point, split: str) -> tuple[str, str, str]:
    cell = point.cells.get(split)
    if cell is None:
        return ("-", "-", "0")
    std = f"{cell.std:.4g}" if cell.std is not None else "-"
    return (f"{cell.mean:.6g}", std, str(cell.num_seeds))


def as_plain(table: Table, summary: Summary) -> dict[str, Any]:
    """The summary as values for JSON; non-finite numbers are null."""
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
