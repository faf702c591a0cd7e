"""Scores of predictions, and what several seeds say together."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

SCORES = ("accuracy", "macro_f1", "auc")


def score(classes: np.ndarray, probabilities: np.ndarray) -> dict[str, float | None]:
    """Accuracy, macro-F1 and AUC (one against the rest, mean over classes), all in [0, 1].

    `classes` (N,) index the columns of `probabilities` (N, K); -1 is a class that the
    classifier does not know. The AUC leaves out classes that no image or every image
    has, and is None if that leaves none.
    """
    from sklearn.metrics import f1_score, roc_auc_score

    predicted = probabilities.argmax(1)
    areas = []
    for k in range(probabilities.shape[1]):
        is_k = classes == k
        if is_k.any() and not is_k.all():
            areas.append(float(roc_auc_score(is_k, probabilities[:, k])))
    return {
        "accuracy": float((predicted == classes).mean()),
        "macro_f1": float(f1_score(classes, predicted, average="macro", zero_division=0)),
        "auc": float(np.mean(areas)) if areas else None,
    }


def over_seeds(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean, standard deviation (N - 1) and the mean's 95% interval by Student's t.

    None for what cannot be told: all three if a value is None, the last two for one value.
    """
    from scipy.stats import t

    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return {"mean": None, "std": None, "ci95": None}
    mean = float(np.mean(numbers))
    if len(numbers) == 1:
        return {"mean": mean, "std": None, "ci95": None}
    std = float(np.std(numbers, ddof=1))
    half = float(t.ppf(0.975, len(numbers) - 1)) * std / math.sqrt(len(numbers))
    return {"mean": mean, "std": std, "ci95": [mean - half, mean + half]}


def summarise(scores: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each (feature, labels, fraction, classifier), in the order of `scores`."""
    keys = ("feature", "labels", "fraction", "num_train", "classifier")
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for entry in scores:
        groups.setdefault(tuple(entry[key] for key in keys), []).append(entry)
    return [
        {
            **dict(zip(keys, values, strict=True)),
            **{name: over_seeds([entry[name] for entry in entries]) for name in SCORES},
        }
        for values, entries in groups.items()
    ]
