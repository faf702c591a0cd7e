"""What small classifiers read from the frozen encoders, as `pipeline/classify.py` left it."""

from typing import Any

from launch.reports.html.gathering import RunRecord
from launch.reports.html.headline import Cell, over_runs
from launch.reports.html.report import Report
from pipeline.files.atomic import read_json_object
from pipeline.files.listing import list_folder

Context = dict[str, Any]
Scores = dict[tuple[str, str, float, str], float]
"""Accuracy by labels, classifier, fraction and feature."""


def probe_tables(report: Report) -> list[Context]:
    """A table of accuracies in percent: features by kinds of training, all labels used.

    Over runs of equal settings, those of the best row; none if nothing was classified.
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
        return over_runs([100 * value for value in values]) if values else None

    return [
        {
            "title": "Probes of the frozen encoder",
            "caption": "Accuracy in percent on turned test images, mean ± standard deviation over"
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
    """Mean accuracies of a run's newest classification; empty if there is none to be read."""
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
