"""The measures that fit something on training images: the pose, and classes out of range."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from orbit.core.groups import Group
from pipeline.measuring import SEED
from pipeline.metrics.pose import (
    KERNELS,
    PAIR_KERNELS,
    Features,
    fit_mean,
    fit_ridge,
    pose_components,
    pose_targets,
    r2_by_component,
    r2_pooled,
)
from pipeline.metrics.retrieval import vote_on_poses
from pipeline.probing.features import standardiser
from pipeline.probing.fits import Labelled, class_of, fit_linear
from pipeline.referee.views import Coder, Seen, common_elements, live, whole

Scores = dict[str, float]
MAX_VALUES = 1 << 26
"""The most numbers of a feature of all views; a fit holds several copies."""
NUM_NEIGHBOURS = 10
NUM_POSES, MAX_POSES = 36, 64
BLOCK = 16
PAIR_STREAM = 65


class Thirds(NamedTuple):
    """What is fitted, what chooses the strength of a fit, and what is scored."""

    train: Seen
    val: Seen
    test: Seen


def features_of(coder: Coder, untrained: Coder, sets: Thirds) -> dict[str, list[torch.Tensor]]:
    """Features (N, D) of the views of the three sets, by name."""
    found = {"z": [whole(seen.parts, 2).flatten(0, 1) for seen in sets]}
    names = sets.train.parts.keys()
    if len(names) > 1:
        found |= {n: [s.parts[n].flatten(2).flatten(0, 1) for s in sets] for n in names}
    frames = [seen.frames.reshape(-1, *seen.frames.shape[2:]) for seen in sets]
    found["untrained_z"] = [whole(untrained.encode(x)) for x in frames]
    found["pixels"] = [torch.from_numpy(x).float().flatten(1) for x in frames]
    return found


class Targets(NamedTuple):
    """What is predicted of the three sets, (N, K) each, from features (N, D) of views, and where
    scores of a feature go."""

    prefix: str
    kernels: tuple[str, ...]
    poses: list[torch.Tensor]


def pose_scores(
    coder: Coder, untrained: Coder, sets: Thirds
) -> tuple[Scores, dict[str, dict[str, float]], dict[str, str]]:
    """`pose_r2/KERNEL/FEATURE`, `pose_r2_pooled/...` and both of the mean; the same of relative
    poses, `relative_r2/...`; R2 of each component; and why a feature is left out.

    Raises ValueError for groups whose poses are not angles or quaternions.
    """
    group = coder.group
    names = pose_components(group)
    sizes = [(seen.elements.shape[0], seen.elements.shape[1]) for seen in sets]
    pairs = [random_pairs(*size, number) for number, size in enumerate(sizes)]
    poses = [seen.poses.flatten(0, 1) for seen in sets]
    elements = [seen.elements.flatten(0, 1) for seen in sets]
    relative = [
        group.compose(g[second], group.inverse(g[first]))
        for g, (first, second) in zip(elements, pairs, strict=True)
    ]
    wanted = (
        Targets("pose_r2", KERNELS, [pose_targets(group, g) for g in poses]),
        Targets("relative_r2", PAIR_KERNELS, [pose_targets(group, g) for g in relative]),
    )
    scores: Scores = {}
    components: dict[str, dict[str, float]] = {}
    refused: dict[str, str] = {}

    def note(prefix: str, name: str, true: torch.Tensor, predicted: torch.Tensor) -> None:
        values = r2_by_component(true, predicted)
        scores[f"{prefix}/{name}"] = sum(values) / len(values)
        scores[f"{prefix}_pooled/{name}"] = r2_pooled(true, predicted)
        key = name if prefix == "pose_r2" else f"{prefix}/{name}"
        components[key] = dict(zip(names, values, strict=True))

    for feature, values in features_of(coder, untrained, sets).items():
        lengths = [len(x) for x in values]
        views = live(torch.cat(values)).split(lengths)
        sides = [
            torch.cat((x[first], x[second]), 1)
            for x, (first, second) in zip(views, pairs, strict=True)
        ]
        for (prefix, kernels, poses), inputs in zip(wanted, (views, sides), strict=True):
            num = sum(map(torch.numel, inputs))
            if num > MAX_VALUES:
                why = f"{num:,} numbers, more than {MAX_VALUES:,}"
                refused[f"{prefix}/.../{feature}"] = why
                continue
            train, val = (Features(x, t) for x, t in zip(inputs[:2], poses[:2], strict=True))
            for kernel in kernels:
                predicted = fit_ridge(train, val, kernel)(inputs[2])
                note(prefix, f"{kernel}/{feature}", poses[2], predicted)
    for prefix, _, poses in wanted:
        mean = fit_mean(Features(poses[0], poses[0]))
        note(prefix, "mean", poses[2], mean(poses[2]))
    return scores, components, refused


def random_pairs(
    num_objects: int, num_views: int, stream: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each view, in a random order of those of its object, the next one: positions (N,) of
    first and second views among all O K."""
    draws = np.random.default_rng([SEED, PAIR_STREAM, stream]).random((num_objects, num_views))
    order = torch.from_numpy(draws.argsort(1) + num_views * np.arange(num_objects)[:, None])
    return order.flatten(), order.roll(-1, 1).flatten()


class Single(NamedTuple):
    """One view of each object, (O, 1), and the label of each, (O,)."""

    seen: Seen
    labels: np.ndarray


def upright(coder: Coder, seen: Seen, elements: torch.Tensor) -> torch.Tensor:
    """Whole latents (O, D) of single views after the inverses of elements (O, ...) have acted."""
    parts = {name: part[:, 0] for name, part in seen.parts.items()}
    acted = coder.latents.acted or ""
    moved = coder.act(parts[acted], coder.group.inverse(elements))
    return whole({**parts, acted: moved})


def class_scores(coder: Coder, train: Single, val: Single, tests: dict[str, Single]) -> Scores:
    """`class_WHERE/...` for each of the tests, by its name.

    Latents of training images are moved back to pose e, and logistic regression is fitted to them;
    `no_action` fits and scores them as they are. Validation images choose the strength of L2 and
    are the references of inferred poses, for which their elements are known. Scored images whose
    label no training image has count as mistakes. Raises ValueError if there are fewer than two
    classes, or if most scored images have such a label, as those of new objects do.
    """
    known = np.unique(train.labels)
    if len(known) < 2:
        raise ValueError("all training images have the same label")
    for single in tests.values():
        if np.isin(single.labels, known).mean() < 0.5:
            raise ValueError("most images that would be scored are of classes without training")
    pairs = [(single.seen, class_of(single.labels, known)) for single in (train, val)]
    if not (pairs[1][1] >= 0).any():
        raise ValueError("no validation image has a label that a training image has")

    def at_own_pose(seen: Seen) -> torch.Tensor:
        return upright(coder, seen, seen.elements[:, 0])

    def still(seen: Seen) -> torch.Tensor:
        return whole({name: part[:, 0] for name, part in seen.parts.items()})

    turned_back, unmoved = (_fit([(of(s), c) for s, c in pairs]) for of in (at_own_pose, still))
    acted = coder.latents.acted or ""
    references = coder.act(
        val.seen.parts[acted][:, 0], coder.group.inverse(val.seen.elements[:, 0])
    )
    scores: Scores = {}
    for where, (seen, labels) in tests.items():
        classes, poses = class_of(labels, known), seen.elements[:, 0]
        candidates = common_elements(coder.group, NUM_POSES, MAX_POSES)
        votes = infer_poses(coder, seen.parts[acted][:, 0], candidates, references)
        found = {
            "pose_known": turned_back(at_own_pose(seen)),
            "pose_inferred": turned_back(upright(coder, seen, candidates[votes])),
            "no_action": unmoved(still(seen)),
        }
        scores |= {f"class_{where}/{n}": float((c == classes).mean()) for n, c in found.items()}
        counts = np.bincount(classes[classes >= 0], minlength=1)
        scores[f"class_{where}/chance"] = float(counts.max() / len(classes))
        hits = votes == nearest_elements(coder.group, poses, candidates)
        scores[f"class_{where}/pose_hits"] = float(hits.double().mean())
    return scores


def infer_poses(
    coder: Coder, values: torch.Tensor, candidates: torch.Tensor, references: torch.Tensor
) -> torch.Tensor:
    """Positions (N,) of the candidates that explain values (N, ...) of the acted part best."""
    inverses = coder.group.inverse(candidates)
    votes = [
        vote_on_poses(coder.act_by_each(part, inverses), references, NUM_NEIGHBOURS)
        for part in values.split(BLOCK)
    ]
    return torch.cat(votes)


def nearest_elements(group: Group, g: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """Positions (N,) of the candidates that are nearest to elements (N, ...) in the group."""
    num = len(candidates)
    others = candidates.repeat(len(g), *(1,) * (candidates.ndim - 1))
    return group.distance(g.repeat_interleave(num, 0), others).view(len(g), num).argmin(1)


def _fit(sets: list[tuple[torch.Tensor, np.ndarray]]) -> Callable[[torch.Tensor], np.ndarray]:
    """Logistic regression on features (N, D) and classes (N,) of training and validation images: a
    function from features to classes."""
    (features, classes), (others, wanted) = sets
    is_live = (features != 0).any(0)
    scale, is_known = standardiser(features[:, is_live]), wanted >= 0
    fit = fit_linear(
        Labelled(scale(features[:, is_live]), torch.from_numpy(classes)),
        Labelled(scale(others[:, is_live])[is_known], torch.from_numpy(wanted[is_known])),
    )
    return lambda scored: fit.predict(scale(scored[:, is_live])).argmax(1)
