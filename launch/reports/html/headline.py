"""The main table, facts of runs, and effects of the varied keys."""

import datetime
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from launch.jobs.codes import CODE
from launch.reports.collecting import Run, show, stated_by
from launch.reports.html.gathering import DATASET, Gathered, RunRecord
from launch.reports.html.names import duration, listing
from launch.reports.seed_summary import (
    CHOOSING,
    MEASURED_BY,
    Cell,
    Summary,
    choose_split,
    direction_of,
    summarise,
    value_of,
)
from launch.reports.status_table import ORDER
from orbit.core.config.schema import suggestion
from orbit.core.metrics import TOTAL_LOSS, Direction, Metric, headlines_of

MAX_METRICS = 8


@dataclass(frozen=True)
class Row:
    """One choice of settings: its runs in order of the report, and cells by metric.

    `chosen` is the main metric on the split that is used to choose, None if it was not measured
    there.
    """

    settings: dict[str, Any]
    records: tuple[RunRecord, ...]
    cells: dict[str, Cell]
    chosen: Cell | None


@dataclass(frozen=True)
class Headline:
    """Rows by dataset and code, then by the main metric on validation, best first.

    `cells` of rows are of `split`. `best` are the runs that did best on validation, one for each
    dataset and code. `extra_keys` are further settings in which rows differ, besides the varied
    keys.
    """

    metric: str
    split: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    best: tuple[RunRecord, ...]
    notes: tuple[str, ...]
    stated: tuple[Metric, ...] = ()
    extra_keys: tuple[str, ...] = ()

    @property
    def has_choice(self) -> bool:
        """Whether the values that were used to choose are shown next to the split's values."""
        return self.split != CHOOSING

    @property
    def direction(self) -> Direction | None:
        """Which values of the main metric are better."""
        return direction_of(self.metric, self.stated)


def choose_metrics(
    names: Sequence[str], main: str | None, stated: Sequence[Metric]
) -> tuple[str, ...]:
    """The main metric, then those that methods put first, then others with a direction, whole
    before parts.

    Raises ValueError for a main metric that was not measured, if any metric was.
    """
    if main is not None and names and main not in names:
        hint = suggestion(main, list(names)).replace("allowed", "known")
        raise ValueError(f"no finished run has metric={main}{hint}")
    first = headlines_of(stated)
    others = [name for name in names if direction_of(name, stated)]
    others.sort(key=lambda name: ("/" in name, names.index(name)))
    ranked = [name for name in (main, *first, *others) if name is not None and name in names]
    return tuple(dict.fromkeys(ranked))[:MAX_METRICS]


def make_headline(
    gathered: Gathered, metric: str | None, split: str | None, any_code: bool = False
) -> Headline:
    """The table of all finished runs; without rows where none is finished."""
    runs = [record.run for record in gathered.records if record.has_config]
    finished = [run for run in runs if run.is_finished]
    split = choose_split(finished, split)
    names = _measured(finished, split)
    if metric is not None and metric not in names and metric in _measured(finished, CHOOSING):
        names = [metric, *names]
    stated = stated_by(runs)
    metrics = choose_metrics(names, metric, stated)
    if not metrics:
        return Headline(metric or TOTAL_LOSS.name, split, (), (), (), (), stated)
    summaries = {name: summarise(runs, name, split, any_code) for name in metrics}
    main = metrics[0]
    rows = _rows(gathered, summaries, main, split)
    direction = direction_of(main, stated)
    if direction is not None:
        means = {id(row): row.chosen.mean if row.chosen is not None else None for row in rows}
        rows.sort(key=lambda row: _rank(means[id(row)], direction))
    # Values on different datasets, or of different code, do not compare.
    rows.sort(key=_family)
    families: dict[tuple[str, ...], list[RunRecord]] = {}
    for row in rows:
        families.setdefault(_family(row), []).extend(row.records)
    extra = dict.fromkeys(key for row in rows for key in row.settings if key not in gathered.keys)
    return Headline(
        metric=main,
        split=split,
        metrics=metrics,
        rows=tuple(rows),
        best=tuple(best_run(own, main, stated) for own in families.values()),
        notes=summaries[main].notes,
        stated=stated,
        extra_keys=tuple(extra),
    )


def _measured(runs: Sequence[Run], split: str) -> list[str]:
    """The metrics that runs have on a split of their own dataset, in the order of the files."""
    names = (
        name
        for run in runs
        for each in run.evaluations
        if each.split == split and each.is_own_data
        for name in each.metrics
    )
    return list(dict.fromkeys(names))


def _family(row: Row) -> tuple[str, ...]:
    """The settings in which rows must agree to be compared."""
    return tuple(
        str(row.settings.get(key, ""))
        for key in (DATASET, CODE, *(key for key in row.settings if key.endswith(MEASURED_BY)))
    )


def _rows(gathered: Gathered, summaries: Mapping[str, Summary], main: str, split: str) -> list[Row]:
    """The points of all metrics, with those of equal settings joined into one row."""
    by_name = {record.name: record for record in gathered.records}
    cells: dict[str, dict[str, Cell]] = {}
    chosen: dict[str, Cell] = {}
    codes: dict[str, dict[str, Any]] = {}
    records: dict[str, dict[str, RunRecord]] = {}
    for metric, summary in summaries.items():
        for point in summary.points:
            key = repr(point.settings)
            own = cells.setdefault(key, {})
            if split in point.cells:
                own[metric] = point.cells[split]
            if metric == main and CHOOSING in point.cells:
                chosen[key] = point.cells[CHOOSING]
            codes[key] = {
                name: value
                for name, value in point.settings.items()
                if name == CODE or name.endswith(MEASURED_BY)
            }
            records.setdefault(key, {}).update({name: by_name[name] for name in point.runs})
    return [
        Row(
            gathered.settings(next(iter(records[key].values()))) | codes[key],
            tuple(records[key].values()),
            own,
            chosen.get(key),
        )
        for key, own in cells.items()
    ]


def best_run(
    records: Sequence[RunRecord],
    metric: str,
    stated: Sequence[Metric],
) -> RunRecord:
    """The run with the best validation of at least one, the first run if that is not known."""
    direction = direction_of(metric, stated)
    values = {record.number: value_of(record.run, metric, CHOOSING) for record in records}
    able = [record for record in records if values[record.number] is not None]
    if direction is None or not able:
        return records[0]
    return min(able, key=lambda record: _rank(values[record.number], direction))


def _rank(value: float | None, direction: Direction) -> tuple[bool, float]:
    """Sorts better values first, and none or NaN last."""
    if value is None or math.isnan(value):
        return True, 0.0
    return False, -value if direction == "higher" else value


Fact = tuple[str, str]


def make_facts(gathered: Gathered) -> list[Fact]:
    """Pairs of a heading and a text; headings without a text are left out."""
    records = gathered.records
    known = [record for record in records if record.has_config]
    facts = [
        ("Experiment", listing(_experiment(record) for record in records)),
        ("Task", listing(str(record.run.config.get("task.name", "")) for record in known)),
        ("Dataset", listing(_datasets(gathered))),
        ("Length", listing(_length(record) for record in known)),
        ("Precision", listing(str(record.run.config.get("precision", "")) for record in known)),
        ("Seeds", listing(sorted({record.seed for record in records}, key=_natural), 8)),
        ("Varied", ", ".join(gathered.keys)),
        ("Started", _when(record.clock.first_time for record in records if record.clock)),
        ("Last heard of", _when(_last_times(records), latest=True)),
        ("Work", _work(records)),
        ("Commit", listing(_commit(record) for record in records)),
        ("Machine", listing(_machine(record) for record in records)),
        ("Versions", listing(_versions(record) for record in records)),
        ("Command", _command(records)),
    ]
    return [(name, text) for name, text in facts if text]


def count_states(records: Sequence[RunRecord]) -> list[tuple[str, int]]:
    """How many runs are in each state, those that need attention first."""
    counts: Counter[str] = Counter(record.state.state for record in records)
    return [(state, counts[state]) for state in ORDER if counts[state]]


def _experiment(record: RunRecord) -> str:
    """The experiment in the recorded command, or, for launched runs, in the overrides of their
    sweep."""
    arguments = record.environment.get("command") or []
    named = [str(argument) for argument in arguments if str(argument).startswith("experiment=")]
    return named[0].partition("=")[2] if named else ""


def _datasets(gathered: Gathered) -> list[str]:
    """Each dataset once, with facts from its manifest and an evaluation."""
    said: dict[str, dict[str, str]] = {}
    for record, name in zip(gathered.records, gathered.datasets, strict=True):
        if record.has_config:
            own = said.setdefault(name, {})
            shape = record.data.get("data.shape")
            own["name"] = str(record.data.get("data.name", ""))
            own["group"] = (
                f"group {record.data['data.group']}" if "data.group" in record.data else ""
            )
            own["shape"] = "x".join(map(str, shape)) if isinstance(shape, list) else ""
            own["fingerprint"] = (record.run.dataset or "")[:8] or own.get("fingerprint", "")
    return [
        name + (f" ({', '.join(filter(None, own.values()))})" if any(own.values()) else "")
        for name, own in said.items()
    ]


def _length(record: RunRecord) -> str:
    config = record.run.config
    parts = [f"{config[key]} {word}" for key, word in _LENGTH if config.get(key) is not None]
    return ", ".join(parts)


_LENGTH = (("epochs", "epochs"), ("global_batch", "pairs a step"))


def _commit(record: RunRecord) -> str:
    git = record.environment.get("git") or {}
    if not isinstance(git, dict) or not git.get("commit"):
        return ""
    return str(git["commit"])[:12] + (" with changes" if git.get("dirty") else "")


def _machine(record: RunRecord) -> str:
    what = record.environment
    device = what.get("gpu") or what.get("processor")
    if not device:
        return ""
    ranks = what.get("world_size") or 1
    return f"{device}, {ranks} {'rank' if ranks == 1 else 'ranks'}, host {what.get('host')}"


def _versions(record: RunRecord) -> str:
    packages = record.environment.get("packages") or {}
    parts = [f"orbit {record.environment['orbit']}"] if "orbit" in record.environment else []
    parts += [f"{name} {packages[name]}" for name in ("torch", "numpy") if name in packages]
    return ", ".join(parts)


def _command(records: Sequence[RunRecord]) -> str:
    """The command, if there is only one run."""
    if len(records) != 1:
        return ""
    return " ".join(str(argument) for argument in records[0].environment.get("command") or [])


def _last_times(records: Sequence[RunRecord]) -> list[float]:
    return [record.clock.last_time for record in records if record.clock]


def _when(times: object, latest: bool = False) -> str:
    found = sorted(times)  # type: ignore[call-overload]
    return moment(found[-1] if latest else found[0]) if found else ""


def _work(records: Sequence[RunRecord]) -> str:
    hours = [float(record.clock.hours[-1]) for record in records if record.clock]
    if not hours:
        return ""
    each = f", {duration(sum(hours) / len(hours))} a run" if len(hours) > 1 else ""
    return f"{duration(sum(hours))} of training{each}"


def moment(time: float) -> str:
    """Seconds since the epoch as a date and time of day, UTC."""
    return datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _natural(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdecimal() else (10**9, text)


MAX_LEVELS = 12
"""The effect of a numeric key with more values than this is its rank correlation."""


@dataclass(frozen=True)
class Level:
    """The runs that share one value of a key; `std` None for one run."""

    value: Any
    mean: float
    std: float | None
    num_runs: int


@dataclass(frozen=True)
class Effect:
    """A key, its levels (none if it takes many numbers) and the strength of its effect.

    `explained` is the share of the metric's variance over all runs that lies between the
    levels, from 0 to 1; `correlation` is Spearman's, from -1 to 1. One of them is None.
    """

    key: str
    levels: tuple[Level, ...]
    explained: float | None
    correlation: float | None
    num_runs: int

    @property
    def strength(self) -> float:
        """Between 0 and 1, for sorting."""
        if self.correlation is not None:
            return self.correlation**2
        return self.explained or 0.0


def make_effects(
    keys: Sequence[str], settings: Sequence[Mapping[str, Any]], values: Sequence[float]
) -> list[Effect]:
    """The effect of each key on finite values (N,), the strongest first.

    `settings` are those of the N runs. A key with a single value has no effect.
    """
    usable = [
        (own, value)
        for own, value in zip(settings, values, strict=True)
        if value is not None and math.isfinite(value)
    ]
    effects = [_effect(key, [(own[key], v) for own, v in usable if key in own]) for key in keys]
    found = [effect for effect in effects if effect is not None]
    return sorted(found, key=lambda effect: -effect.strength)


def _effect(key: str, pairs: list[tuple[Any, float]]) -> Effect | None:
    groups: dict[str, tuple[Any, list[float]]] = {}
    for level, value in pairs:
        groups.setdefault(show(level), (level, []))[1].append(value)
    if len(groups) < 2:
        return None
    is_numeric = all(_is_number(level) for level, _ in groups.values())
    if is_numeric and len(groups) > MAX_LEVELS:
        x, y = (np.array(column, np.float64) for column in zip(*pairs, strict=True))
        return Effect(key, (), None, spearman(x, y), len(pairs))
    ordered = sorted(groups.values(), key=lambda group: _order(group[0], is_numeric))
    levels = [_level(level, values) for level, values in ordered]
    return Effect(key, tuple(levels), explained([v for _, v in ordered]), None, len(pairs))


def explained(groups: Sequence[Sequence[float]]) -> float:
    """Share of the variance of all values that lies between groups; 0 if all values are equal."""
    everything = np.concatenate([np.asarray(group, np.float64) for group in groups])
    mean = everything.mean()
    total = float(((everything - mean) ** 2).sum())
    between = sum(len(group) * (float(np.mean(group)) - mean) ** 2 for group in groups)
    return min(1.0, float(between) / total) if total > 0 else 0.0


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Correlation of the ranks of two rows (N,), with mean ranks for ties; 0 if one is constant."""
    a, b = _ranks(x), _ranks(y)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0


def _ranks(x: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    middle: np.ndarray = (ends - counts + ends - 1) / 2
    return middle[inverse]


def _level(value: Any, values: list[float]) -> Level:
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Level(value, float(np.mean(values)), std, len(values))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _order(level: Any, is_numeric: bool) -> tuple[float, str]:
    return (float(level), "") if is_numeric else (0.0, show(level))
