"""What is fitted to frozen features: labelled training images, and two small classifiers.

The choice of images is stratified and nested, by a seed. Classifiers see standardised features, and
are chosen by their loss on validation images.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import nn

from orbit.core.store.manifest import SPLITS
from orbit.core.store.reader import PairStore
from pipeline.probing.features import SplitImages, find_images
from pipeline.settings import LabelKind

SUBSET_STREAM = 60


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """An order of images (I,) in which every prefix is stratified, so that subsets are nested.

    One image of each class comes first, then classes follow in proportion to their sizes; within a
    class the order is drawn from `seed`.
    """
    rng = np.random.default_rng([seed, SUBSET_STREAM])
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        drawn = rng.permutation(members)
        place[drawn] = (np.arange(len(members)) + rng.random()) / len(members)
        place[drawn[0]] = -1.0
    return np.argsort(place, kind="stable")


def subset_size(fraction: float, num_labelled: int, num_classes: int) -> int:
    """The number of images in a fraction of the labelled ones, at least one for each class."""
    return max(num_classes, round(fraction * num_labelled))


TARGET_STREAM = 62
MAX_VALIDATION = 2000


class View(NamedTuple):
    """Images to encode: the sources or targets of some records, and the class of each (-1: not
    known)."""

    records: np.ndarray
    end: Literal["source", "target"]
    classes: np.ndarray


@dataclass(frozen=True)
class ProbeSets:
    """`labels` (K,) are the labels of the training split, ascending; a class is a position in them.

    Validation images are of these classes, up to 2000, the same for all seeds. `test` are the
    images that are scored, of the split `scored`; those of `val` are used by no fit.
    """

    train: SplitImages
    val: SplitImages
    test: SplitImages
    labels: np.ndarray
    chosen_val: np.ndarray
    scored: Literal["test", "val"] = "test"

    def train_view(self, kind: LabelKind, seed: int, num: int) -> View:
        """The first `num` images in the order of a seed; smaller sets are prefixes of larger
        ones."""
        chosen = stratified_order(self.train.labels, seed)[:num]
        return self._view(self.train, kind, (TARGET_STREAM, SPLITS.index("train"), seed), chosen)

    def val_view(self, kind: LabelKind) -> View:
        """The validation images, upright or moved as the training images are."""
        return self._view(self.val, kind, (TARGET_STREAM, SPLITS.index("val")), self.chosen_val)

    def scored_view(self) -> View:
        """Every image that is scored, moved by the element of one drawn record."""
        chosen = np.arange(len(self.test.labels))
        return self._view(self.test, "rotated", (TARGET_STREAM, SPLITS.index("test")), chosen)

    def train_size(self, fraction: float, max_train: int) -> int:
        """Number of labelled images of a fraction."""
        return subset_size(fraction, self.num_labelled(max_train), len(self.labels))

    def num_labelled(self, max_train: int) -> int:
        """The number of labelled training images, of which fractions are taken."""
        return min(max_train, len(self.train.labels))

    def sizes(self, max_train: int) -> dict[str, int]:
        """Numbers of classes and images; `num_test` are scored."""
        return {
            "num_classes": len(self.labels),
            "num_train_images": len(self.train.labels),
            "num_labelled": self.num_labelled(max_train),
            "num_val": len(self.chosen_val),
            "num_test": len(self.test.labels),
        }

    def _view(
        self, images: SplitImages, kind: LabelKind, key: tuple[int, ...], chosen: np.ndarray
    ) -> View:
        classes = class_of(images.labels, self.labels)[chosen]
        if kind == "upright":
            return View(images.upright()[chosen], "source", classes)
        return View(images.moved(key)[chosen], "target", classes)


def make_sets(store: PairStore, scored: Literal["test", "val"] = "test") -> ProbeSets:
    """The sets of a dataset; ValueError if its training images have fewer than two classes.

    If validation images are scored, fits get at most half of them.
    """
    train, val = (find_images(store, split) for split in ("train", "val"))
    labels = np.unique(train.labels)
    if len(labels) < 2:
        raise ValueError(
            f"classification needs two classes, but all training images of {store.root}"
            f" have the label {labels[0]}"
        )
    known = np.flatnonzero(class_of(val.labels, labels) >= 0)
    if not len(known):
        raise ValueError(
            f"no validation image of {store.root} has a label that a training image has"
        )
    order = known[stratified_order(val.labels[known], 0)]
    if scored == "val":
        num = min(MAX_VALIDATION, len(order) // 2)
        if num == 0:
            raise ValueError(f"scored=val needs two validation images of {store.root}")
        return ProbeSets(train, val, val.some(order[num:]), labels, order[:num], scored)
    return ProbeSets(train, val, find_images(store, "test"), labels, order[:MAX_VALIDATION])


def class_of(labels: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The position of each label in `known` (ascending), int64; -1 if it is not among them."""
    places = np.searchsorted(known, labels).clip(max=len(known) - 1)
    return np.where(known[places] == labels, places, -1)


L2_STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4)
"""Factors of half the squared norm of the weights, which is added to the mean cross-entropy."""
MAX_ITERATIONS = 1000
TOLERANCE, LONG_TOLERANCE, LONG_FEATURES = 1e-4, 1e-3, 512
"""Bounds of the gradient at which a fit stops: the first for short features, the second for longer
ones, whose fits take seconds. The second changes test accuracies by about 0.002."""

HIDDEN, LEARNING_RATE, BATCH = 256, 1e-3, 256
MAX_ROUNDS, PATIENCE, MIN_STEPS = 60, 2, 10
MLP_STREAM = 61


class Labelled(NamedTuple):
    """Standardised features (N, D) float32 and classes (N,) from 0 on, int64."""

    features: torch.Tensor
    classes: torch.Tensor


@dataclass(frozen=True)
class Classifier:
    """`predict` maps features (N, D) to probabilities (N, K); `facts` say how it was fitted."""

    predict: Callable[[torch.Tensor], np.ndarray]
    facts: dict[str, Any]


def fit_linear(train: Labelled, val: Labelled) -> Classifier:
    """Multinomial logistic regression with L2, by L-BFGS.

    Strengths are tried from the strongest on, each starting from the previous weights, until the
    validation loss rises; a fit that reaches the iteration limit is not `converged`.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    num_train, num_features = train.features.shape
    tolerance = LONG_TOLERANCE if num_features > LONG_FEATURES else TOLERANCE
    model = LogisticRegression(tol=tolerance, max_iter=MAX_ITERATIONS, warm_start=True)
    features, classes = train.features.numpy(), train.classes.numpy()
    least, weights, facts = np.inf, (np.empty(0), np.empty(0)), {}
    for strength in L2_STRENGTHS:
        model.C = 1 / (strength * num_train)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(features, classes)
        loss = _log_loss(model.predict_proba(val.features.numpy()), val.classes.numpy())
        if loss >= least:
            break
        least, weights = loss, (model.coef_.copy(), model.intercept_.copy())
        facts = {"l2": strength, "converged": bool(model.n_iter_.max() < MAX_ITERATIONS)}
    model.coef_, model.intercept_ = weights

    def predict(features: torch.Tensor) -> np.ndarray:
        return np.asarray(model.predict_proba(features.numpy()))

    return Classifier(predict, facts)


def fit_mlp(
    train: Labelled, val: Labelled, num_classes: int, seed: int, device: torch.device
) -> Classifier:
    """One hidden layer of 256 units, trained by Adam; returns the weights with the lowest
    validation loss.

    A round is one epoch, or as many as are needed for 10 steps; training ends after 2 consecutive
    rounds without a lower validation loss. Weights and batches are functions of `seed`.
    """
    key = int(np.random.SeedSequence([seed, MLP_STREAM]).generate_state(1)[0])
    draws = torch.Generator().manual_seed(key)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key)
        hidden = nn.Linear(train.features.shape[1], HIDDEN)
        network = nn.Sequential(hidden, nn.ReLU(), nn.Linear(HIDDEN, num_classes)).to(device)
    train, val = (Labelled(*(x.to(device) for x in labelled)) for labelled in (train, val))
    optimiser = torch.optim.Adam(network.parameters(), LEARNING_RATE, fused=True)
    num_batches = -(-len(train.classes) // BATCH)
    num_epochs = max(1, MIN_STEPS // num_batches)
    least, best, best_round = float("inf"), network.state_dict(), 0
    for number in range(1, MAX_ROUNDS + 1):
        for _ in range(num_epochs):
            order = torch.randperm(len(train.classes), generator=draws).to(device)
            for places in order.split(BATCH):
                optimiser.zero_grad()
                outputs = network(train.features[places])
                nn.functional.cross_entropy(outputs, train.classes[places]).backward()
                optimiser.step()
        with torch.no_grad():
            loss = nn.functional.cross_entropy(network(val.features), val.classes).item()
        if loss < least:
            least, best_round = loss, number
            best = {name: value.clone() for name, value in network.state_dict().items()}
        elif number - best_round >= PATIENCE:
            break
    network.load_state_dict(best)

    @torch.no_grad()
    def predict(features: torch.Tensor) -> np.ndarray:
        return np.asarray(network(features.to(device)).double().softmax(1).cpu().numpy())

    return Classifier(predict, {"num_epochs": best_round * num_epochs})


def _log_loss(probabilities: np.ndarray, classes: np.ndarray) -> float:
    true = probabilities[np.arange(len(classes)), classes]
    return float(-np.log(np.maximum(true, 1e-30)).mean())
