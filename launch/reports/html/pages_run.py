"""The page of one run: its settings, its results, and its differences from other runs.

Also the page that compares the configurations of any two runs.
"""

from collections.abc import Mapping
from typing import Any

from launch.jobs.history import ATTEMPTS, Attempt
from launch.reports.collecting import show
from launch.reports.html.curves import SPLITS
from launch.reports.html.gathering import RunRecord
from launch.reports.html.headline import moment
from launch.reports.html.names import duration
from launch.reports.html.pictures import gallery_context
from launch.reports.html.report import Report
from launch.reports.seed_summary import direction_of, value_of
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
