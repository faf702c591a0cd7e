"""What the pages' scripts read: runs, grids and one file of series for each metric.

Pages opened from disk may not fetch files, so these are scripts that hand over a value.
"""

import json
from collections.abc import Iterator
from typing import Any

from launch.reports.collecting import show
from launch.reports.html.curves import axes_of, curve_names
from launch.reports.html.report import Report

Script = tuple[str, str]


def data_scripts(report: Report) -> Iterator[Script]:
    """Names and contents of the scripts below data/."""
    yield "runs", as_script("runs", runs_value(report))
    for file, metric in curve_names(report.curves):
        value = {"metric": metric, "series": report.curves.series[metric]}
        yield file, as_script(file, value)


def runs_value(report: Report) -> dict[str, Any]:
    """Runs by number with their settings and axes, groups of equal settings, and grids."""
    gathered = report.gathered
    order = {record.number: place for place, record in enumerate(report.ranked)}
    groups: dict[str, int] = {}
    labels: list[str] = []
    runs: list[dict[str, Any]] = []
    for record in gathered.records:
        settings = gathered.settings(record)
        key = json.dumps(settings, default=str, sort_keys=True)
        if key not in groups:
            groups[key] = len(labels)
            labels.append(report.label(record) or report.title)
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
        "groups": labels,
        "keys": report.short,
        "grids": report.curves.grids,
    }


def as_script(name: str, value: Any) -> str:
    """A script that hands a value over under a name."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return f"orbit.receive({json.dumps(name)},{text});\n"


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str) or value is None else show(value)
