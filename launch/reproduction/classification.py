"""The classification of a run in a few rows. Pure functions."""

from collections.abc import Mapping
from typing import Any

SETTINGS = ("labels", "feature", "classifier", "fraction")
"""What tells the rows of a classification's summary apart."""
SCORES = ("accuracy", "macro_f1", "auc")


def classification_rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The settings above and each score's mean over the classifier's seeds, a row a setting.

    `content` is that of a file below `classification/`; a score that it lacks is left out.
    """
    rows = []
    for entry in content["summary"]:
        row = {key: entry[key] for key in SETTINGS}
        for name in SCORES:
            mean = (entry.get(name) or {}).get("mean")
            if mean is not None:
                row[name] = round(mean, 5)
        rows.append(row)
    return rows
