"""Classifiers on frozen features over seeds and numbers of labels: scores, table."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from orbit.core.progress import Progress
from orbit.core.store.reader import PairStore
from pipeline.metrics.intervals import half_width
from pipeline.probing.classifiers import Classifier, Labelled, fit_linear, fit_mlp
from pipeline.probing.features import (
    Encoder,
    Networks,
    encode,
    encoder_of,
    extract,
    split_name,
    standardiser,
)
from pipeline.probing.sets import ProbeSets, View
from pipeline.settings import ClassifierName, ClassifyConfig

SCORES = ("accuracy", "macro_f1", "auc")


def score(classes: np.ndarray, probabilities: np.ndarray) -> dict[str, float | None]:
    """Accuracy, macro-F1 and AUC (one against the rest, mean over classes), all in [0, 1].

    `classes` (N,) index the columns of `probabilities` (N, K); -1 is a class that the classifier
    does not know. The AUC leaves out classes of no image or of all images, and is None if none is
    left.
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

    Values that cannot be computed are None: all three if a value is None, the last two for a single
    value.
    """
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return {"mean": None, "std": None, "ci95": None}
    mean = float(np.mean(numbers))
    if len(numbers) == 1:
        return {"mean": mean, "std": None, "ci95": None}
    std, half = float(np.std(numbers, ddof=1)), half_width(numbers)
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


def classification_table(result: dict[str, Any]) -> str:
    """A block for each kind of training images and classifier: features by fractions.

    Accuracies in percent with half the width of their 95% interval; macro-F1 and AUC in
    percent at the largest fraction.
    """
    settings, sizes = result["settings"], result["sizes"]
    fractions = sorted(settings["fractions"])
    entries = {
        (row["labels"], row["classifier"], row["feature"], row["fraction"]): row
        for row in result["summary"]
    }
    features = [name for name in settings["features"] if name not in result["skipped"]]
    width = max(map(len, features))
    lines = [
        f"checkpoint of step {result['step']}; accuracy in % on {sizes['num_test']} rotated"
        f" {settings.get('scored', 'test')} images, {sizes['num_classes']} classes,"
        f" {len(settings['seeds'])} seed(s)"
    ]
    for labels in settings["labels"]:
        for classifier in settings["classifiers"]:
            heads = [
                f"{100 * f:g}% ({entries[labels, classifier, features[0], f]['num_train']})"
                for f in fractions
            ]
            columns = "".join(f"{head:>15}" for head in heads)
            lines += ["", f"{classifier}, trained on {labels} images"]
            lines.append(f"  {'':{width}}{columns}{'macro-F1':>11}{'AUC':>8}")
            for name in features:
                rows = [entries[labels, classifier, name, f] for f in fractions]
                cells = "".join(f"{_with_interval(row['accuracy']):>15}" for row in rows)
                f1, auc = (_percent(rows[-1][key]["mean"]) for key in ("macro_f1", "auc"))
                lines.append(f"  {name:{width}}{cells}{f1:>11}{auc:>8}")
    lines.append("")
    lines += [f"{name} skipped: {reason}" for name, reason in result["skipped"].items()]
    num_labelled, num_images = sizes["num_labelled"], sizes["num_train_images"]
    if num_labelled < num_images:
        lines.append(f"100% is max_train={num_labelled} of {num_images} training images")
    stopped = sum(not entry.get("converged", True) for entry in result["scores"])
    if stopped:
        lines.append(f"{stopped} linear fits stopped at their last iteration, not converged")
    return "\n".join(lines).rstrip()


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _with_interval(score: dict[str, Any]) -> str:
    if score["ci95"] is None:
        return _percent(score["mean"])
    low, high = score["ci95"]
    return f"{_percent(score['mean'])} ± {50 * (high - low):.1f}"


Values = tuple[torch.Tensor, torch.Tensor]
"""The encoder's outputs for images (N, C, ...), and their classes (N,) int64."""


class Probe:
    """The common state of all fits; `num_dimensions` holds the length of each feature so far."""

    def __init__(
        self,
        config: ClassifyConfig,
        store: PairStore,
        sets: ProbeSets,
        networks: Networks,
        places: int,
        device: torch.device,
        progress: Progress,
    ) -> None:
        self.num_dimensions: dict[str, int] = {}
        self._config, self._sets, self._networks = config, sets, networks
        self._places = places
        self._readers = store.open_all()
        self._device, self._progress = device, progress

    def scores(self, features: Sequence[str]) -> list[dict[str, Any]]:
        """One entry for each feature, kind of labels, fraction, classifier and seed."""
        entries = [
            entry
            for family in dict.fromkeys(split_name(name).family for name in features)
            for entry in self._family_scores(
                [name for name in features if split_name(name).family == family]
            )
        ]
        order = {name: place for place, name in enumerate(features)}
        # A stable sort keeps the entries of a feature in the order of the settings.
        return sorted(entries, key=lambda entry: order[entry["feature"]])

    def _family_scores(self, members: list[str]) -> Iterator[dict[str, Any]]:
        config, sets = self._config, self._sets
        feature = split_name(members[0])
        model = self._networks[feature.is_untrained]
        # If only means over cells are needed, nothing else is kept.
        is_pooled = all(split_name(name).is_pooled for name in members)
        encoder = encoder_of(model, feature, is_pooled)
        is_variant = model.mask.is_variant().cpu()
        sizes = {f: sets.train_size(f, config.max_train) for f in config.fractions}
        test = self._encode(encoder, sets.scored, sets.scored_view())
        for kind in config.labels:
            val = self._encode(encoder, "val", sets.val_view(kind))
            for seed in config.seeds:
                view = sets.train_view(kind, seed, max(sizes.values()))
                train = self._encode(encoder, "train", view)
                for name in members:
                    parts = [(extract(name, x, is_variant), y) for x, y in (train, val, test)]
                    self.num_dimensions[name] = parts[0][0].shape[1]
                    for fraction, size in sizes.items():
                        where = {
                            "feature": name,
                            "labels": kind,
                            "fraction": fraction,
                            "num_train": size,
                        }
                        for scores in self._fit_all(parts, size, seed):
                            yield {**where, **scores}

    def _fit_all(self, parts: list[Values], size: int, seed: int) -> Iterator[dict[str, Any]]:
        """Fit each classifier on the first `size` training images."""
        (train, classes), (val, val_classes), (test, test_classes) = parts
        standardise = standardiser(train[:size])
        labelled = Labelled(standardise(train[:size]), classes[:size])
        chosen_by = Labelled(standardise(val), val_classes)
        tested = standardise(test)
        for name in self._config.classifiers:
            fitted = self._fit(name, labelled, chosen_by, seed)
            found = score(test_classes.numpy(), fitted.predict(tested))
            yield {"classifier": name, "seed": seed, **found, **fitted.facts}
            self._progress.advance()

    def _fit(self, name: ClassifierName, train: Labelled, val: Labelled, seed: int) -> Classifier:
        if name == "linear":
            return fit_linear(train, val)
        return fit_mlp(train, val, len(self._sets.labels), seed, self._device)

    def _encode(self, encoder: Encoder, split: str, view: View) -> Values:
        reader = self._readers[split]
        values = encode(encoder, reader, view.records, view.end, self._places, self._device)
        return values, torch.from_numpy(view.classes)
