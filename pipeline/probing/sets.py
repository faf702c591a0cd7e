"""The choice of labelled training images: stratified and nested, by a seed."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

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
