"""All shared measures of one checkpoint, each measured or refused with its reason.

Every draw is by a fixed seed: two runs on one dataset are measured on the same views. Nothing is
fitted on the objects that are scored.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from orbit.core.groups import Group, Torus, make_group
from orbit.core.progress import Progress
from orbit.core.store.manifest import Manifest
from orbit.core.store.origin import Orbits
from orbit.core.store.reader import PairStore
from pipeline.measuring import SEED, device_of, spread
from pipeline.methods.interface import Latents
from pipeline.referee.fits import Single, Thirds, class_scores, pose_scores
from pipeline.referee.scores import (
    d_lsbd_scores,
    gain_scores,
    image_scores,
    inference_scores,
    inferred_elements,
    predictions,
    retrieval_scores,
    torus_scores,
)
from pipeline.referee.views import Coder, Seen, Views, check_has_views, make_views, see, size_of

NUM_OBJECTS, NUM_FITTED, NUM_CHOOSING, NUM_VIEWS = 64, 128, 32, 8
"""Objects that are scored, with all views, and of regressions, with 8 views each."""
NUM_CLASSIFIED, NUM_REFERENCES, NUM_TESTED = 2000, 500, 300
"""Images of classification, one view each."""
MAX_VALUES = 1 << 26
"""The most numbers of latents that are held at a time."""
CHOICE_STREAM = 64


@dataclass
class Findings:
    """`metrics` by name; `components`: R2 of each component of the pose; `refused`: why something
    was not measured, by the names of its metrics."""

    metrics: dict[str, float] = field(default_factory=dict)
    components: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def attempt(self, names: str, measure: Callable[[], dict[str, float]]) -> None:
        """Add what `measure` returns, or the reason of its ValueError."""
        try:
            self.metrics |= measure()
        except ValueError as error:
            self.refused[names] = str(error)


def measure(
    offered: Callable[[nn.Module, Manifest], Latents],
    models: tuple[nn.Module, nn.Module],
    store: PairStore,
    split: str,
    batch: int,
) -> Findings:
    """Measure the trained one of two models beside the untrained one, `batch` frames at a time.

    Raises ValueError for a dataset without views of objects.
    """
    manifest, group = store.manifest, make_group(store.manifest.group)
    trained, untrained = (
        Coder(offered(model, manifest), group, device_of(model), batch) for model in models
    )
    scored, fitted = make_views(store, split), make_views(store, _fit_split(split))
    choice = Choice(trained, scored, fitted, _seen_bins(manifest))
    found = Findings()
    with Progress(4, "measures", "measuring", lines=False) as progress:
        test = choice.scored_views(NUM_OBJECTS)
        has_action = trained.latents.act is not None
        if has_action:
            _score(found, trained, test, scored, manifest)
        else:
            found.refused["retrieval, equivariance_gain, d_lsbd, orbit_psnr, class"] = (
                "no part of this latent is acted on"
            )
        progress.advance()
        sets = Thirds(*choice.fitted_views(), test)
        try:
            scores, found.components, refused = pose_scores(trained, untrained, sets)
            found.metrics |= scores
            found.refused |= refused
        except ValueError as error:
            found.refused["pose_r2"] = str(error)
        progress.advance()
        del sets
        if has_action:
            found.attempt("class_in_range, class_out_of_range", choice.class_scores)
        progress.advance(2)
    return found


def check_can_measure(manifest: Manifest, split: str) -> None:
    """Raise ValueError for a dataset without views of objects."""
    for each in (split, _fit_split(split)):
        check_has_views(manifest, each)


def _fit_split(split: str) -> str:
    return "val" if split == "train" else "train"


def _seen_bins(manifest: Manifest) -> tuple[str, ...] | None:
    """The bins of elements that training saw; None if it saw all."""
    origin = manifest.origin
    return origin.train_bins if isinstance(origin, Orbits) else None


def _score(found: Findings, coder: Coder, test: Seen, views: Views, manifest: Manifest) -> None:
    """Add what needs no fit."""
    predicted = predictions(coder, test)
    found.attempt("retrieval", lambda: retrieval_scores(coder, test, predicted))
    found.metrics |= gain_scores(coder, test, predicted)
    if isinstance(coder.group, Torus):
        found.attempt("d_lsbd", lambda: torus_scores(coder, views))
    else:
        found.attempt("d_lsbd", lambda: d_lsbd_scores(coder, test, views.has_common_elements))
    inferred = inferred_elements(coder, test)
    found.metrics |= inference_scores(coder.group, test.elements, inferred)
    if coder.latents.decode is None:
        found.refused["orbit_psnr"] = "this method has no decoder: see equivariance_gain"
        return
    swaps = views.has_common_elements and len(test.elements) > 1
    if not swaps:
        found.refused["orbit_psnr/swapped"] = (
            "no two objects have views under the same elements, which a swapped element needs"
        )
    found.metrics |= image_scores(
        coder,
        test,
        predicted,
        inferred if swaps else None,
        manifest.frames.stored_range,
        _seen_bins(manifest),
    )


@dataclass(frozen=True)
class Choice:
    """Which objects and views are used: `scored` of the split, `fitted` of the one for fits."""

    coder: Coder
    scored: Views
    fitted: Views
    seen_bins: tuple[str, ...] | None

    def scored_views(self, num: int) -> Seen:
        """All views of up to `num` objects, of fewer if their latents are long."""
        objects = spread(len(self.scored.labels), self._most(num, self.scored.num_views, 2))
        views = np.tile(np.arange(self.scored.num_views), (len(objects), 1))
        return see(self.coder, self.scored, objects, views)

    def fitted_views(self) -> tuple[Seen, Seen]:
        """Some views each of objects for fits and of others for the choice among fits."""
        num = self._most(NUM_FITTED + NUM_CHOOSING, NUM_VIEWS, 4)
        objects = spread(len(self.fitted.labels), num)
        rng = np.random.default_rng([SEED, CHOICE_STREAM])
        order = rng.random((len(objects), self.fitted.num_views)).argsort(1)
        views, objects = order[:, :NUM_VIEWS], rng.permutation(objects)
        first = len(objects) * NUM_FITTED // (NUM_FITTED + NUM_CHOOSING)
        parts = (slice(first), slice(first, None))
        train, val = (see(self.coder, self.fitted, objects[p], views[p]) for p in parts)
        return train, val

    def class_scores(self) -> dict[str, float]:
        """`class_in_range/...` and `class_out_of_range/...`; ValueError without classes or
        without elements to leave out."""
        most = self._most(NUM_CLASSIFIED + NUM_REFERENCES, 1, 20)
        objects = spread(len(self.fitted.labels), most)
        objects = np.random.default_rng([SEED, CHOICE_STREAM, 1]).permutation(objects)
        first = len(objects) * NUM_CLASSIFIED // (NUM_CLASSIFIED + NUM_REFERENCES)
        tested = spread(len(self.scored.labels), min(most, NUM_TESTED))
        train = self._single(self.fitted, objects[:first], True, 2)
        val = self._single(self.fitted, objects[first:], True, 3)
        tests = {
            name: self._single(self.scored, tested, inside, 4)
            for name, inside in (("in_range", True), ("out_of_range", False))
        }
        return class_scores(self.coder, train, val, tests)

    def _single(self, views: Views, objects: np.ndarray, inside: bool, stream: int) -> Single:
        """One view of each object under an element of, or outside of, the fitted ones."""
        elements = views.elements(objects)
        allowed = in_range(self.coder.group, elements, self.seen_bins).numpy() == inside
        objects, allowed = objects[allowed.any(1)], allowed[allowed.any(1)]
        if not len(objects):
            where = "fitted" if inside else "left out"
            raise ValueError(f"no element of {self.coder.group.name} is {where}")
        draws = np.random.default_rng([SEED, CHOICE_STREAM, stream]).random(allowed.shape)
        chosen = (draws * allowed).argmax(1)[:, None]
        return Single(see(self.coder, views, objects, chosen), views.labels[objects])

    def _most(self, num: int, num_views: int, least: int) -> int:
        """The number of objects whose latents, with this many views, can be held."""
        size = size_of(self.coder.encode(self.scored.sources(np.arange(1))))
        return max(least, min(num, MAX_VALUES // (size * num_views)))


def in_range(
    group: Group, elements: torch.Tensor, seen_bins: tuple[str, ...] | None
) -> torch.Tensor:
    """Whether classes are fitted at elements (O, V, ...), (O, V) bool.

    At those that training saw, if it did not see all; else at those that are not farther from the
    identity than half of the elements of the first object.
    """
    flat = elements.flatten(0, 1)
    if seen_bins is not None:
        known = torch.tensor([name in seen_bins for name in group.bin_names])
        return known[group.bin_index(flat)].view(elements.shape[:2])
    distance = group.distance(group.identity(len(flat)), flat).view(elements.shape[:2])
    # A little more, so that turns by the same angle either way are treated alike.
    return distance <= distance[0].median() + 1e-4
