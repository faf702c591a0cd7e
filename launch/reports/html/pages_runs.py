"""The pages of all runs and of the effects of varied keys, and their numbers as CSV and JSON.

Pages that are opened from disk cannot fetch files, so these are scripts that assign a value.
"""

import json
from collections.abc import Iterator
from typing import Any

from launch.reports.collecting import show
from launch.reports.html.curves import axes_of
from launch.reports.html.gathering import RunRecord
from launch.reports.html.headline import make_effects
from launch.reports.html.report import Report
from launch.reports.seed_summary import CHOOSING, direction_of, value_of

MAX_EFFECT_METRICS = 6
Context = dict[str, Any]


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
