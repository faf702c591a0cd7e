"""The measures of one model that need no fit: retrieval, gain, D_LSBD, swapped elements.

D_LSBD of objects under two angles is computed on a grid of all pairs, one object at a time.
"""

from collections.abc import Sequence

import numpy as np
import torch

from orbit.core.groups import Group, Torus
from pipeline.measuring import partners, spread
from pipeline.metrics.disentanglement import (
    MIN_ANGLES,
    d_lsbd,
    d_lsbd_of_misses,
    noise_floor,
    pair_spectrum,
    torus_misses,
    torus_noise_floor,
    why_no_d_lsbd,
    why_no_torus_d_lsbd,
)
from pipeline.metrics.images import psnr
from pipeline.metrics.retrieval import (
    MIN_VIEWS,
    chance_reciprocal_rank,
    equivariance_gain,
    expected_hits_at,
    expected_reciprocal_rank,
    nearest_candidates,
    pose_distance,
    pose_retrieval,
    rank_views,
)
from pipeline.referee.views import Coder, MadeViews, Seen, Views, common_elements

ROTATIONS = ("c4", "so2", "so3", "torus", "turn_hue")
NUM_CANDIDATES, MAX_CANDIDATES = 360, 512
"""Candidates of an inferred element: all of a finite group with at most 512, or else 360."""

Scores = dict[str, float]


def predictions(coder: Coder, seen: Seen) -> torch.Tensor:
    """g z of the acted part of the sources, for the elements of all views, (O, K, ...)."""
    acted = coder.latents.acted
    assert acted is not None
    source, elements = seen.source[acted], seen.elements
    num = elements.shape[1]
    moved = coder.act(source.repeat_interleave(num, 0), elements.flatten(0, 1))
    return moved.view(len(source), num, *moved.shape[1:])


def retrieval_scores(coder: Coder, seen: Seen, predicted: torch.Tensor) -> Scores:
    """`retrieval/...`; ValueError for orbits of fewer than 36 views."""
    num = seen.elements.shape[1]
    if num < MIN_VIEWS:
        raise ValueError(f"an orbit has {num} views, at least {MIN_VIEWS} are needed")
    views = seen.parts[coder.latents.acted or ""].flatten(2)
    predicted = predicted.flatten(2)
    ranks = rank_views(predicted, views)
    found = {
        "retrieval/mrr": expected_reciprocal_rank(ranks),
        "retrieval/mrr_chance": chance_reciprocal_rank(num),
        "retrieval/hits_at_1": expected_hits_at(1, ranks),
        "retrieval/hits_at_1_chance": 1 / num,
    }
    if coder.group.name in ROTATIONS:
        flat = (x.flatten(0, 1) for x in (predicted, views, seen.poses))
        errors = pose_retrieval(coder.group, *flat)
        found["retrieval/pose_error"] = errors.error
        found["retrieval/pose_error_chance"] = errors.chance
    return found


def gain_scores(coder: Coder, seen: Seen, predicted: torch.Tensor) -> Scores:
    """`equivariance_gain/...` over the elements other than the identity."""
    acted = coder.latents.acted or ""
    views = seen.parts[acted].flatten(2)
    source = seen.source[acted].flatten(1)[:, None].expand_as(views)
    is_moved = coder.group.bin_index(seen.elements.flatten(0, 1)) != 0
    rows = (x.flatten(0, 1)[is_moved] for x in (source, predicted.flatten(2), views))
    found = equivariance_gain(*rows)
    scores = {"equivariance_gain/cosine": found.gain}
    return scores if found.ratio is None else {**scores, "equivariance_gain/ratio": found.ratio}


def d_lsbd_scores(coder: Coder, seen: Seen, is_grid: bool) -> Scores:
    """`d_lsbd`, and what noise scores; ValueError with the reason where it would be unfair."""
    if coder.group.name != "so2" or not is_grid:
        where = f"the views of {coder.group.name} here are none"
        raise ValueError(f"it needs a turn of {MIN_ANGLES} equal angles; {where}")
    acted = coder.latents.acted or ""
    source = seen.source[acted]
    reason = why_no_d_lsbd(coder.act_by_each(source, seen.elements[0]))
    if reason is not None:
        raise ValueError(reason)
    views = seen.parts[acted].flatten(2)
    return {"d_lsbd": d_lsbd(views), "d_lsbd_noise": noise_floor(*views.shape)}


def inferred_elements(coder: Coder, seen: Seen) -> torch.Tensor:
    """The candidate that best explains each pair (x, g x), (O, K, ...)."""
    acted = coder.latents.acted or ""
    candidates = common_elements(coder.group, NUM_CANDIDATES, MAX_CANDIDATES)
    found = []
    # One object at a time: its latent under all candidates is large.
    for source, views in zip(seen.source[acted], seen.parts[acted], strict=True):
        (moved,) = coder.act_by_each(source[None], candidates)
        found.append(candidates[nearest_candidates(moved, views)])
    return torch.stack(found)


def inference_scores(group: Group, true: torch.Tensor, inferred: torch.Tensor) -> Scores:
    """`inferred/...`: how far inferred elements (O, K, ...) are from the true ones."""
    flat, others = true.flatten(0, 1), inferred.flatten(0, 1)
    if group.name in ROTATIONS:
        # Each true element against every element of its orbit.
        chance = [
            pose_distance(group, row, row.roll(shift, 0))
            for row in true
            for shift in range(len(row))
        ]
        return {
            "inferred/pose_error": float(pose_distance(group, flat, others).mean()),
            "inferred/pose_error_chance": float(torch.cat(chance).mean()),
        }
    if group.num_elements is not None:
        hits = group.element_index(flat) == group.element_index(others)
        return {
            "inferred/hits": float(hits.double().mean()),
            "inferred/hits_chance": 1 / group.num_elements,
        }
    return {}


def image_scores(
    coder: Coder,
    seen: Seen,
    predicted: torch.Tensor,
    inferred: torch.Tensor | None,
    stored_range: tuple[float, float],
    seen_bins: Sequence[str] | None,
) -> Scores:
    """`orbit_psnr/...` of the model with the true element and with a partner's, and the floors.

    `inferred` (O, K, ...) are elements inferred from each object's own pairs; None without common
    elements.
    """
    acted = coder.latents.acted or ""
    num_objects, num = seen.elements.shape[:2]
    rest = {
        name: part.repeat_interleave(num, 0) for name, part in seen.source.items() if name != acted
    }
    low, high = stored_range

    def unit(frames: np.ndarray) -> torch.Tensor:
        return (torch.from_numpy(frames).float() - low) / (high - low)

    wanted = unit(seen.frames)
    # The order of parts is that of the method.
    order = list(seen.source)

    def drawn(moved: torch.Tensor) -> torch.Tensor:
        parts = {**rest, acted: moved.flatten(0, 1)}
        return coder.decode({name: parts[name] for name in order}).view_as(wanted)

    guesses = {
        "given": drawn(predicted),
        "black": torch.zeros_like(wanted),
        "copy": unit(seen.source_frames)[:, None].expand_as(wanted),
        "mean": wanted.mean((0, 1), dtype=torch.float64).float().expand_as(wanted),
    }
    if inferred is not None:
        others = inferred[torch.from_numpy(partners(num_objects))]
        guesses["swapped"] = drawn(predictions(coder, seen._replace(elements=others)))
    bins = coder.group.bin_index(seen.elements.flatten(0, 1)).view(num_objects, num)
    names = coder.group.bin_names
    sets = {"": torch.ones_like(bins, dtype=torch.bool)}
    if seen_bins is not None:
        known = torch.tensor([name in seen_bins for name in names])[bins]
        sets |= {"/seen_elements": known, "/unseen_elements": ~known}
    scores = {}
    for name, guess in guesses.items():
        error = (guess - wanted).double().square().flatten(2).mean(2)
        for which, chosen in sets.items():
            if chosen.any():
                scores[f"orbit_psnr/{name}{which}"] = psnr(float(error[chosen].mean()))
    return scores


NUM_OBJECTS = 8
MAX_VALUES = 1 << 24
"""The most numbers of the latents of one object under the whole grid."""


def torus_scores(coder: Coder, views: Views) -> dict[str, float]:
    """`d_lsbd` of up to 8 objects under 36 x 36 pairs of angles, and what noise scores.

    ValueError with the reason where views cannot be made, where latents are too long, and where the
    model's own action has several pairs of frequencies.
    """
    group, acted = coder.group, coder.latents.acted
    assert isinstance(group, Torus)
    assert acted is not None
    if not isinstance(views, MadeViews):
        raise ValueError(
            f"it needs views under {MIN_ANGLES} x {MIN_ANGLES} pairs of angles, and here only"
            " stored ones are known"
        )
    elements = group.grid(MIN_ANGLES)
    grid = views.under(elements)
    objects = spread(len(views.labels), NUM_OBJECTS)
    sources = coder.encode(views.sources(objects))[acted]
    size = sources[0].numel() * len(elements)
    if size > MAX_VALUES:
        raise ValueError(
            f"{size:,} numbers of an object under all angles, more than {MAX_VALUES:,}"
        )
    shape = (MIN_ANGLES, MIN_ANGLES, -1)
    moved = (coder.act_by_each(source[None], elements).view(shape) for source in sources)
    reason = why_no_torus_d_lsbd(torch.stack([pair_spectrum(z) for z in moved]).sum(0))
    if reason is not None:
        raise ValueError(reason)
    misses = []
    for number in objects:
        (frames,) = grid.frames(number[None], np.arange(len(elements))[None])
        misses.append(torus_misses(coder.encode(frames)[acted].view(shape)))
    noise = torus_noise_floor(len(objects), MIN_ANGLES, sources[0].numel())
    return {"d_lsbd": d_lsbd_of_misses(torch.stack(misses)), "d_lsbd_noise": noise}
