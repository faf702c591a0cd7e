"""The front page, and the accuracies of classifiers on frozen encoders."""

from typing import Any

from launch.jobs.codes import CODE
from launch.reports.collecting import show, stated_by
from launch.reports.html.curves import SPLITS
from launch.reports.html.gathering import DATASET, RunRecord
from launch.reports.html.headline import choose_metrics, count_states, make_facts
from launch.reports.html.pages_runs import read_notes
from launch.reports.html.pictures import frames_context, picture_context
from launch.reports.html.report import Report
from launch.reports.seed_summary import CHOOSING, Cell, direction_of, over_seeds, value_of
from orbit.core.files.atomic import read_json_object
from orbit.core.files.listing import list_folder

Context = dict[str, Any]
Scores = dict[tuple[str, str, float, str], float]
"""Accuracy by labels, classifier, fraction and feature."""


def probe_tables(report: Report) -> list[Context]:
    """A table of accuracies in percent: features by kinds of training, all labels used.

    They are means over the runs of the best row; there are none if no run was classified.
    """
    rows = report.headline.rows
    records = rows[0].records if rows else report.gathered.records
    found = [scores for record in records if (scores := read_scores(record))]
    if not found:
        return []
    largest = max(fraction for scores in found for _, _, fraction, _ in scores)
    kept = [
        key for key in dict.fromkeys(k for scores in found for k in scores) if key[2] == largest
    ]
    kinds = list(dict.fromkeys((labels, classifier) for labels, classifier, _, _ in kept))
    features = list(dict.fromkeys(feature for *_, feature in kept))

    def cell(kind: tuple[str, str], feature: str) -> Cell | None:
        values = [s[(*kind, largest, feature)] for s in found if (*kind, largest, feature) in s]
        return over_seeds([100 * value for value in values]) if values else None

    return [
        {
            "title": "Probes of the frozen encoder",
            "caption": "Accuracy in percent on rotated test images, mean ± standard deviation over"
            f" {len(found)} {'run' if len(found) == 1 else 'runs'} of the best settings, with"
            f" {100 * largest:g}% of the labels.",
            "heads": [
                "feature",
                *(f"{classifier}, {labels} labels" for labels, classifier in kinds),
            ],
            "rows": [
                {"name": feature, "cells": [cell(kind, feature) for kind in kinds]}
                for feature in features
            ],
        }
    ]


def read_scores(record: RunRecord) -> Scores:
    """Mean accuracies of a run's newest classification; empty without a readable one."""
    files = list_folder(record.path / "classification", "step_*.json")
    content = read_json_object(files[-1]) if files else None
    scores: Scores = {}
    for row in (content or {}).get("summary") or []:
        try:
            key = (row["labels"], row["classifier"], float(row["fraction"]), row["feature"])
            scores[key] = float(row["accuracy"]["mean"])
        except (KeyError, TypeError, ValueError):
            continue
    return scores


MAX_ROWS = 25
MAX_LISTED = 12
MAX_BEST = 6


def front_page(report: Report) -> Context:
    """The values for the template of the front page."""
    gathered, headline = report.gathered, report.headline
    worrying = [record for record in gathered.records if not record.state.is_well]
    unfinished = [
        record
        for record in gathered.records
        if not record.run.is_finished and "val" in record.log.splits
    ]
    so_far_metrics = _so_far_metrics(unfinished)
    rows = [_row(report, row) for row in headline.rows]
    return {
        "heading": report.title,
        "lead": _lead(report),
        "states": count_states(gathered.records),
        "best": [_best(report, record) for record in headline.best[:MAX_BEST]],
        "several": len(gathered.records) > 1,
        "headline": headline,
        "choosing": CHOOSING,
        "results_caption": _caption(report),
        "key_titles": [
            *(report.short[key] for key in report.table_keys),
            *headline.extra_keys,
        ],
        "num_keys_left": len(gathered.keys) - len(report.table_keys),
        "cover": _cover(report),
        "notes": [
            (root.path.name, text) for root in gathered.roots if (text := read_notes(root.path))
        ],
        "rows": rows[:MAX_ROWS],
        "num_rows_left": max(0, len(rows) - MAX_ROWS),
        "front_chart": _front_chart(report),
        "so_far_metrics": so_far_metrics,
        "so_far": [
            {
                "record": record,
                "href": report.href(record),
                "step": record.state.step,
                "cells": [record.log.last("val").get(name) for name in so_far_metrics],
            }
            for record in unfinished[:MAX_ROWS]
        ],
        "probes": probe_tables(report),
        "attention": [
            {"record": record, "href": report.href(record)} for record in worrying[:MAX_LISTED]
        ],
        "num_attention_left": max(0, len(worrying) - MAX_LISTED),
        "facts": make_facts(gathered),
        "complaints": gathered.complaints[:MAX_LISTED],
        "num_complaints_left": max(0, len(gathered.complaints) - MAX_LISTED),
    }


def _lead(report: Report) -> str:
    num = len(report.gathered.records)
    kinds = ", ".join(f"{root.kind} {root.path}" for root in report.gathered.roots[:3])
    more = len(report.gathered.roots) - 3
    kinds += f" and {more} more" if more > 0 else ""
    return f"{num} {'run' if num == 1 else 'runs'}, as of {report.written}: {kinds}."


def _caption(report: Report) -> str:
    headline = report.headline
    seeds = "Mean ± sample standard deviation over seeds"
    return (
        f"{seeds} at the best checkpoint, {headline.split} split; by {headline.metric} on"
        f" {CHOOSING}, which alone chooses, best first."
        + (" Click a heading to sort." if len(headline.rows) > 1 else "")
    )


def _row(report: Report, row: Any) -> Context:
    headline = report.headline
    return {
        "settings": [
            show(row.settings[key]) if key in row.settings else "–"
            for key in (*report.table_keys, *headline.extra_keys)
        ],
        "chosen": row.chosen,
        "runs": row.records[0].name if len(row.records) == 1 else f"{len(row.records)} runs",
        "record": row.records[0] if len(row.records) == 1 else None,
        "href": report.href(row.records[0]),
        "num_seeds": max(cell.num_seeds for cell in (*row.cells.values(), row.chosen) if cell),
        "cells": [row.cells.get(metric) for metric in headline.metrics],
    }


def _best(report: Report, record: RunRecord) -> Context:
    headline = report.headline
    metric = headline.metric
    values = [(name, value_of(record.run, name, headline.split)) for name in headline.metrics[:4]]
    if headline.has_choice:
        chosen = value_of(record.run, metric, CHOOSING)
        values = [(f"{metric} on {CHOOSING}", chosen), *values]
    return {
        "record": record,
        "href": report.href(record),
        "settings": report.label(record),
        "step": record.run.best_step,
        "dataset": report.gathered.datasets[record.number]
        if DATASET in report.gathered.keys
        else "",
        "code": report.gathered.codes[record.number] if CODE in report.gathered.keys else "",
        "measured_by": [
            f"{key} {row.settings[key]}"
            for row in headline.rows
            if record in row.records
            for key in headline.extra_keys
            if key in row.settings
        ],
        "tiles": [
            {
                "name": name,
                "value": value,
                "direction": direction_of(name.partition(" ")[0], headline.stated),
            }
            for name, value in values
            if value is not None
        ],
    }


def _cover(report: Report) -> Context | None:
    """What the best run makes of pictures: its frames to slide through, or its first picture."""
    best = report.headline.best[:1] or report.ranked[:1]
    own = [one for one in report.galleries if one.record.number == best[0].number] if best else []
    if not own:
        return None
    gallery = own[0]
    frames = [frames_context(one) for one in gallery.frames[:1]]
    pictures = [] if frames else [picture_context(one) for one in gallery.pictures[:1]]
    return {"record": gallery.record, "frames": frames, "pictures": pictures}


def _front_chart(report: Report) -> Context | None:
    """The curve of the main metric, or of the first metric with a curve."""
    files = report.curves.files
    if not files:
        return None
    metric = report.headline.metric if report.headline.metric in files else next(iter(files))
    return {"file": files[metric], "metric": metric, "splits": SPLITS}


def _so_far_metrics(records: list[RunRecord]) -> tuple[str, ...]:
    names = dict.fromkeys(name for record in records for name in record.log.last("val"))
    return choose_metrics(list(names), None, stated_by(record.run for record in records))
