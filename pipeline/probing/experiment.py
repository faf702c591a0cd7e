"""Every fit of a classification: encode once, standardise, fit, score."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from data_prep.store.reader import PairStore
from pipeline.probing.classifiers import Classifier, Labelled, fit_linear, fit_mlp
from pipeline.probing.features import (
    Encoder,
    encode,
    encoder_of,
    extract,
    split_name,
    standardiser,
)
from pipeline.probing.networks import Networks
from pipeline.probing.scores import score
from pipeline.probing.sets import ProbeSets, View
from pipeline.probing.settings import ClassifierName, ClassifyConfig
from pipeline.progress import Progress

Values = tuple[torch.Tensor, torch.Tensor]
"""What an encoder makes of images (N, C, ...), and their classes (N,) int64."""


class Probe:
    """Holds what all fits share; `num_dimensions` tells the length of each feature so far."""

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
            for family in ("trained", "untrained", "pixels")
            if (members := [name for name in features if _family(name) == family])
            for entry in self._family_scores(family, members)
        ]
        order = {name: place for place, name in enumerate(features)}
        # Stable: the entries of a feature stay in the order of the settings.
        return sorted(entries, key=lambda entry: order[entry["feature"]])

    def _family_scores(self, family: str, members: list[str]) -> Iterator[dict[str, Any]]:
        config, sets = self._config, self._sets
        model = self._networks[family == "untrained"]
        # Where only means over cells are asked for, nothing else is kept.
        is_pooled = all(split_name(name)[1] for name in members)
        encoder = model.normalise if family == "pixels" else encoder_of(model, is_pooled)
        is_variant = model.mask.is_variant().cpu()
        sizes = {f: sets.train_size(f, config.max_train) for f in config.fractions}
        test = self._encode(encoder, "test", sets.test_view())
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


def _family(name: str) -> str:
    if name == "pixels":
        return "pixels"
    return "untrained" if split_name(name)[0] else "trained"
