"""The assignment of a source's images to splits."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from data_prep.settings import OrbitDatasetConfig
from orbit.core.store.manifest import SPLITS

SPLIT_STREAM = 0
DEFAULT_FRACTION = 0.15
"""The share of a split if neither the source nor the configuration states it."""

Images = tuple[str, np.ndarray]
"""A part of the source and positions in it."""


def assign_splits(
    num_images: Mapping[str, int],
    subjects: Callable[[str], np.ndarray | None],
    config: OrbitDatasetConfig,
    seed: int,
    num_samples: int | None,
) -> dict[str, Images]:
    """Split name to its images, shuffled if the split is drawn here.

    Images of one subject stay together. Raises ValueError for fractions that do not fit
    the source's own split, for an empty split, and for a subject in two splits.
    """
    parts = set(num_images)
    val = _fraction("val_fraction", config.val_fraction, "val" in parts, "validation")
    test = _fraction("test_fraction", config.test_fraction, "test" in parts, "test")
    part = "train" if "train" in parts else next(iter(num_images))
    drawn = _draw(num_images[part], subjects(part), val, test, seed)
    splits: dict[str, Images] = {}
    for split in SPLITS:
        has_own = split in parts and split != "train"
        splits[split] = (split, np.arange(num_images[split])) if has_own else (part, drawn[split])
    for split, (name, positions) in splits.items():
        if not len(positions):
            known = subjects(name)
            of = "" if known is None else f" of {len(np.unique(known))} subjects, which stay whole"
            raise ValueError(
                f"the {split} split would be empty: part {name!r} of the source holds"
                f" {num_images[name]} images{of}"
            )
    _check_subjects(splits, subjects)
    return _limited(splits, num_samples)


def _fraction(key: str, fraction: float | None, has_part: bool, meaning: str) -> float:
    """The share of images to draw for a split: 0 if the source has that split."""
    if has_part and fraction is not None:
        raise ValueError(f"dataset.{key} must be null for a source with a {meaning} part")
    if has_part:
        return 0.0
    return DEFAULT_FRACTION if fraction is None else fraction


def _draw(
    num_images: int, subjects: np.ndarray | None, val: float, test: float, seed: int
) -> dict[str, np.ndarray]:
    """Positions of the images of each split; whole subjects are drawn if there are any."""
    units = np.arange(num_images) if subjects is None else subjects
    names, unit_of_image = np.unique(units, return_inverse=True)
    order = np.random.default_rng([seed, SPLIT_STREAM]).permutation(len(names))
    at_least = int(len(names) >= len(SPLITS))
    num_val, num_test = (
        max(at_least, round(len(names) * share)) if share else 0 for share in (val, test)
    )
    chosen = {
        "val": order[:num_val],
        "test": order[num_val : num_val + num_test],
        "train": order[num_val + num_test :],
    }
    if subjects is None:
        return chosen
    rank = np.argsort(order)[unit_of_image]
    return {
        split: np.flatnonzero(np.isin(unit_of_image, drawn))[
            np.argsort(rank[np.isin(unit_of_image, drawn)], kind="stable")
        ]
        for split, drawn in chosen.items()
    }


def _check_subjects(
    splits: Mapping[str, Images], subjects: Callable[[str], np.ndarray | None]
) -> None:
    """Raise ValueError if a source's own splits share a subject."""
    seen: dict[int, str] = {}
    for split, (part, positions) in splits.items():
        known = subjects(part)
        if known is None:
            continue
        for subject in np.unique(known[positions]).tolist():
            if seen.setdefault(subject, split) != split:
                raise ValueError(f"subject {subject} is in the {seen[subject]} and {split} splits")


def _limited(splits: dict[str, Images], num_samples: int | None) -> dict[str, Images]:
    """The first images of each split, in proportion, `num_samples` in total."""
    total = sum(len(positions) for _, positions in splits.values())
    if num_samples is None or num_samples == total:
        return splits
    if num_samples > total:
        raise ValueError(f"num_samples={num_samples}, but the source has {total} images")
    shares = proportions([len(positions) for _, positions in splits.values()], num_samples)
    return {
        split: (name, positions[:share])
        for (split, (name, positions)), share in zip(splits.items(), shares, strict=True)
    }


def proportions(sizes: Sequence[int], total: int) -> list[int]:
    """Parts of `total` in proportion to `sizes`, at least 1 each, by the largest remainders."""
    wanted = [size * total / sum(sizes) for size in sizes]
    parts = [max(1, int(share)) for share in wanted]
    by_remainder = sorted(range(len(sizes)), key=lambda place: parts[place] - wanted[place])
    for place in itertools.cycle(by_remainder):
        if sum(parts) >= total:
            break
        parts[place] += parts[place] < sizes[place]
    while sum(parts) > total:
        parts[parts.index(max(parts))] -= 1
    return parts
