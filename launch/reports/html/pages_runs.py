"""The pages of runs: of one, of two compared, of all, of the effects of varied keys.

The page of one run shows its settings, its results, and its differences from other runs.

Numbers are also written as CSV and JSON. Pages that are opened from disk cannot fetch files, so
these are scripts that assign a value.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from launch.jobs.history import ATTEMPTS, Attempt
from launch.reports.collecting import show
from launch.reports.html.curves import SPLITS, axes_of
from launch.reports.html.gathering import RunRecord
from launch.reports.html.headline import make_effects, moment
from launch.reports.html.names import duration
from launch.reports.html.pictures import gallery_context
from launch.reports.html.report import Report
from launch.reports.seed_summary import CHOOSING, direction_of, value_of
from orbit.core.files.atomic import read_json_object

Context = dict[str, Any]
NOTES_FILE = "notes.md"
MAX_NOTES = 20_000
"""The most characters of notes that are shown."""
PLACE = "run_dir"
"""Keys that differ between any two runs, and are therefore not compared."""


def run_page(report: Report, record: RunRecord) -> Context:
    """The values for the page of one run, with all its results."""
    best = next(iter(report.headline.best), None)  # none before a run is finished
    said = read_json_object(record.path / "description.json") or {}
    model = read_json_object(record.path / "model.json") or said.get("model")
    is_best = best is None or best.number == record.number
    return {
        "heading": record.name,
        "record": record,
        "settings": report.label(record),
        "tiles": _tiles(report, record),
        "chart": _chart(report, record),
        "ended_early": (read_json_object(record.path / "result.json") or {}).get("ended_early"),
        "notes": read_notes(record.path),
        "description": str(said.get("words") or ""),
        "parameters": _parameters(model),
        "gallery": _gallery(report, record),
        "attempts": [_attempt(record, attempt) for attempt in record.attempts],
        "restarts": record.clock.num_restarts if record.clock else 0,
        "best": None if is_best else best,
        "best_href": None if is_best or best is None else report.href(best),
        "differences": [] if is_best or best is None else differences(record, best),
        "config": _config_text(record),
    }


def _gallery(report: Report, record: RunRecord) -> Context | None:
    own = (one for one in report.galleries if one.record.number == record.number)
    return next(map(gallery_context, own), None)


def read_notes(folder: Any) -> str:
    """The user's notes on a run or a sweep; empty without a readable `notes.md`."""
    try:
        text = (folder / NOTES_FILE).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
    return text if len(text) <= MAX_NOTES else f"{text[:MAX_NOTES]} ..."


def differences(record: RunRecord, other: RunRecord) -> list[tuple[str, str, str]]:
    """Keys in which two runs differ, with the value of each; a dash for a missing value."""
    mine, theirs = record.own_config, other.own_config
    return [
        (key, _text(mine, key), _text(theirs, key))
        for key in sorted({*mine, *theirs} - {PLACE})
        if _text(mine, key) != _text(theirs, key)
    ]


def compare_value(report: Report) -> Context:
    """For the page's script: the keys whose values differ among runs, and those of each run."""
    values = [record.own_config for record in report.ranked]
    keys = sorted({key for own in values for key in own} - {PLACE})
    varied = [key for key in keys if len({_text(own, key) for own in values}) > 1]
    return {
        "names": [record.name for record in report.ranked],
        "keys": varied,
        "numEqual": len(keys) - len(varied),
        "values": [[_text(own, key) for key in varied] for own in values],
    }


def compare_page(report: Report) -> Context:
    """The values for a page that compares two chosen runs, the best runs first in the lists."""
    return {
        "heading": "In what runs differ",
        "runs": [record.name for record in report.ranked],
    }


def _text(values: Mapping[str, Any], key: str) -> str:
    return show(values[key]) if key in values else "–"


def _tiles(report: Report, record: RunRecord) -> list[Context]:
    headline = report.headline
    if record.run.is_finished:
        pairs = [(name, value_of(record.run, name, headline.split)) for name in headline.metrics]
    else:
        last = record.log.last("val")
        pairs = [(name, last.get(name)) for name in (*headline.metrics, *last)]
    return [
        {"name": name, "value": value, "direction": direction_of(name, headline.stated)}
        for name, value in dict(pairs).items()
        if value is not None
    ][:8]


def _chart(report: Report, record: RunRecord) -> Context | None:
    """The curve of the main metric or, without it, of the run's first metric."""
    own = report.curves.splits_by_run.get(record.number)
    if not own:
        return None
    metric = report.headline.metric if report.headline.metric in own else next(iter(own))
    splits = [one for one in SPLITS if one in own[metric]]
    return {"file": report.curves.files[metric], "metric": metric, "splits": splits}


def _parameters(model: Any) -> list[tuple[str, int]]:
    """The numbers of parameters of the network and of its parts; empty if they are not recorded."""
    counts = (model or {}).get("parameters") if isinstance(model, dict) else None
    if not isinstance(counts, dict) or not isinstance(counts.get("total"), int):
        return []
    parts = counts.get("parts") or {}
    return [("in all", counts["total"]), *((str(k), v) for k, v in parts.items())]


def _attempt(record: RunRecord, attempt: Attempt) -> Context:
    folder = record.path / ATTEMPTS / attempt.name
    begun = read_json_object(folder / "begin.json") or {}
    ended = read_json_object(folder / "end.json") or {}
    lasted = None if attempt.ended is None else (attempt.ended - attempt.started) / 3600
    return {
        "name": attempt.name,
        "started": moment(attempt.started),
        "host": str(begun.get("host") or "–"),
        "num_ranks": attempt.num_ranks,
        "first_step": attempt.first_step,
        "lasted": duration(lasted),
        "reason": attempt.reason or ("running" if record.state.state == "running" else "vanished"),
        "message": str(ended.get("message") or ""),
    }


def _config_text(record: RunRecord) -> str:
    try:
        return (record.path / "config.yaml").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


MAX_EFFECT_METRICS = 6


def runs_page(report: Report) -> Context:
    """The values for the page of runs: a row for each run, the best first."""
    headline = report.headline
    columns: list[Context] = [{"title": "run"}, {"title": "state"}]
    columns += [{"title": report.short[key]} for key in report.table_keys]
    columns += [{"title": "seed", "numeric": True}, {"title": "step", "numeric": True}]
    shown = [(headline.metric, CHOOSING)] if headline.has_choice and headline.metrics else []
    shown += [(name, headline.split) for name in headline.metrics]
    columns += [
        {
            "title": f"{name} on {split}" if headline.has_choice and split == CHOOSING else name,
            "numeric": True,
            "direction": direction_of(name, headline.stated),
        }
        for name, split in shown
    ]
    rows = []
    for record in report.ranked:
        settings = report.gathered.settings(record)
        keys = [_text_cell(settings.get(key, "")) for key in report.table_keys]
        rows.append(
            {
                "record": record,
                "href": report.href(record),
                "settings": [*keys, _text_cell(record.run.config.get("seed", ""))],
                "step": record.state.step,
                "cells": [value_of(record.run, name, split) for name, split in shown],
            }
        )
    default = {"numeric": False, "direction": None, "sorted": None}
    return {
        "lead": f"Values are of the {headline.split} split at the best checkpoint."
        " table.csv next to this page has every evaluated step and metric.",
        "caption": f"{len(rows)} runs, by {headline.metric} on {CHOOSING}, best first."
        " Click a heading to sort.",
        "columns": [default | column for column in columns],
        "rows": rows,
    }


def effects_page(report: Report) -> Context:
    """The values for the page of effects: the effect of each varied key on each main metric."""
    headline = report.headline
    finished = [record for record in report.gathered.records if record.run.is_finished]
    settings = [report.gathered.settings(record) for record in finished]
    found = []
    for metric in headline.metrics[:MAX_EFFECT_METRICS]:
        split = split_of_effects(report, metric)
        values = [value_of(record.run, metric, split) for record in finished]
        numbers = [float("nan") if value is None else value for value in values]
        effects = make_effects(report.gathered.keys, settings, numbers)
        found.append({"name": metric, "effects": effects})
    return {
        "heading": "Effects of the varied keys",
        "lead": f"Each dot is a finished run, on {CHOOSING} if the metric was measured there,"
        f" otherwise on {headline.split}. The runs also differ in other keys; in a full grid, all"
        " values of a key cover the same values of the others.",
        "metrics": [one["name"] for one in found],
        "effects": found,
    }


def split_of_effects(report: Report, metric: str) -> str:
    """The split on which effects are told: whoever reads them chooses by them."""
    records = report.gathered.records
    has_choice = any(value_of(record.run, metric, CHOOSING) is not None for record in records)
    return CHOOSING if has_choice else report.headline.split


def effects_value(report: Report) -> Context:
    """For the page's script: settings and values of finished runs."""
    headline = report.headline
    finished = [record for record in report.gathered.records if record.run.is_finished]
    return {
        "names": [record.name for record in finished],
        "settings": [
            {
                key: show(value) if isinstance(value, list | dict | bool) else value
                for key, value in report.gathered.settings(record).items()
            }
            for record in finished
        ],
        "values": {
            metric: [
                _finite(value_of(record.run, metric, split_of_effects(report, metric)))
                for record in finished
            ]
            for metric in headline.metrics[:MAX_EFFECT_METRICS]
        },
    }


def _text_cell(value: Any) -> Context:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {"text": show(value), "numeric": is_number}


def _finite(value: float | None) -> float | None:
    is_finite = value is not None and abs(value) < float("inf")
    return value if is_finite else None


Script = tuple[str, str]


def data_scripts(report: Report) -> Iterator[Script]:
    """Names and contents of the scripts below data/."""
    yield "runs", as_script("runs", runs_value(report))
    for metric, file in report.curves.files.items():
        value = {"metric": metric, "series": report.curves.series[metric]}
        yield file, as_script(file, value)


def runs_value(report: Report) -> dict[str, Any]:
    """Runs by number with their settings and axes, groups of equal settings, and grids."""
    gathered = report.gathered
    order = {record.number: place for place, record in enumerate(report.ranked)}
    groups: dict[str, int] = {}
    members: list[list[RunRecord]] = []
    runs: list[dict[str, Any]] = []
    for record in gathered.records:
        settings = gathered.settings(record)
        key = json.dumps(settings, default=str, sort_keys=True)
        if key not in groups:
            groups[key] = len(members)
            members.append([])
        members[groups[key]].append(record)
        runs.append(
            {
                "name": record.name,
                "state": record.state.state,
                "seed": record.seed,
                "group": groups[key],
                "rank": order[record.number],
                "settings": {name: _plain(value) for name, value in settings.items()},
                **axes_of(record),
            }
        )
    return {
        "runs": runs,
        "groups": [_group_label(report, own) for own in members],
        "keys": report.short,
        "grids": report.curves.grids,
    }


def _group_label(report: Report, records: list[RunRecord]) -> str:
    """What runs of equal settings are called: one that no sweep made by its name."""
    if report.has_names and len(records) == 1:
        return records[0].name
    return report.label(records[0]) or report.title


def as_script(name: str, value: Any) -> str:
    """A script that assigns a value to a name."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return f"orbit.receive({json.dumps(name)},{text});\n"


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str) or value is None else show(value)
