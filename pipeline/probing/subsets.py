"""Which training images have labels: stratified and nested, by a seed."""

import numpy as np

SUBSET_STREAM = 60


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """An order of images (I,) whose every prefix is stratified: subsets of it are nested.

    One image of each class comes first, then classes come in proportion to their sizes;
    within a class the order is drawn from `seed`.
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
    """Images in a fraction of the labelled ones, never less than one a class."""
    return max(num_classes, round(fraction * num_labelled))
