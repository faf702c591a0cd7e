"""Classification from the frozen encoder of one checkpoint: sets, fits, scores, one file.

Classifiers are fitted over seeds and numbers of labels.

Images that are scored are always rotated: the target of one drawn record for each. They are test
images, or validation images that no fit uses. The draws for both are the same for all seeds; a seed
determines which training images have labels,
how they are moved, and the weights and batches of the `mlp`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orbit.core.metrics import half_width
from orbit.core.progress import Progress
from orbit.core.store.reader import PairStore
from pipeline.arithmetic import exact_float32, use_threads
from pipeline.methods.latent_action.settings import LatentActionConfig
from pipeline.methods.table import METHODS
from pipeline.probing.features import (
    Encoder,
    Networks,
    encode,
    encoder_of,
    extract,
    load_networks,
    reason_to_skip,
    split_name,
    standardiser,
)
from pipeline.probing.fits import (
    Classifier,
    Labelled,
    ProbeSets,
    View,
    fit_linear,
    fit_mlp,
    make_sets,
)
from pipeline.run_files.checkpoint import MODEL_FILE
from pipeline.runs import latent_action_model, load_run, open_data
from pipeline.settings import ClassifierName, ClassifyConfig, classification_file
from pipeline.training.distributed import choose_device
from pipeline.training.run_directory import RunDirectory

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


@exact_float32()
def classify_run(config: ClassifyConfig) -> tuple[dict[str, Any], Path]:
    """Write `classification/step_XXXXXXXX.json`, or read it if it holds these settings.

    Returns its content and path. Raises FileNotFoundError or ValueError for files that cannot be
    read, for runs of other methods than `latent_action`, for fewer than two classes, and for a file
    with other settings.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped,unused-ignore]

    use_threads(config.num_threads)
    run = RunDirectory(Path(config.run_dir))
    task = run.read_config().task
    if task.name in METHODS and not isinstance(task, LatentActionConfig):
        raise ValueError(
            f"{run.path} is a run of task.name={task.name}, whose encoder classify.py does not"
            " read; allowed: latent_action"
        )
    store = open_data(run, config.data)
    if "rotated" in config.labels:
        store.manifest.check_has_targets("train", "labels=[rotated]", "labels=[upright]")
    device = choose_device(config.device, 0)
    loaded = load_run(run.path, str(config.checkpoint), store.root, device)
    latent_action_model(loaded)  # a plug-in's method may have another model
    fingerprint, meta = store.manifest.fingerprint, loaded.checkpoint.meta
    identity = {
        "step": loaded.step,
        "dataset": fingerprint,
        "weights": meta["files"][MODEL_FILE]["sha256"],
    }
    other = None if fingerprint == meta["dataset"] else fingerprint
    name = f"classification/{classification_file(loaded.step, other)}"
    if not config.overwrite:
        written = run.read_json(name)
        if written and identity.items() <= written.items():
            _check_settings(config, written, run.path / name)
            return written, run.path / name
    networks = load_networks(loaded, store.manifest, device)
    sets = make_sets(store, config.scored)
    sizes = sets.sizes(config.max_train)
    num_images = sizes["num_labelled"] + sizes["num_val"] + sizes["num_test"]
    skipped = {
        feature: reason
        for feature in config.features
        if (
            reason := reason_to_skip(
                feature, networks[feature.startswith("untrained_")], num_images
            )
        )
    }
    features = [feature for feature in config.features if feature not in skipped]
    if not features:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise ValueError(f"this run has none of the requested features ({reasons})")
    num_fits = len(features) * len(config.labels) * len(config.fractions)
    num_fits *= len(config.classifiers) * len(config.seeds)
    with (
        threadpool_limits(config.num_threads),
        Progress(num_fits, "fits", "classifying", enabled=not config.json) as progress,
    ):
        places = config.batch or loaded.places()
        probe = Probe(config, store, sets, networks, places, device, progress)
        scores = probe.scores(features)
    result = {
        **identity,
        "settings": config.what_is_measured(),
        "sizes": sizes,
        "skipped": skipped,
        "num_dimensions": probe.num_dimensions,
        "summary": summarise(scores),
        "scores": scores,
    }
    (run.path / "classification").mkdir(exist_ok=True)
    run.write_json(name, result)
    return result, run.path / name


def _check_settings(config: ClassifyConfig, written: dict[str, Any], file: Path) -> None:
    # Earlier versions scored test images only.
    wanted, found = config.what_is_measured(), {"scored": "test", **written.get("settings", {})}
    differing = [key for key in wanted if wanted[key] != found.get(key)]
    if differing:
        raise ValueError(
            f"{file} holds other settings ({', '.join(differing)}); overwrite=true replaces it"
        )
