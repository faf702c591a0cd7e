"""Measures of episodes: equivariance, distance invariance, shares of irreps and parts.

With f = E S, p_h the rollout over h steps from f(s) and p_h^g that from f(g s) by moved actions:

    latent          | rho_Z(g) f(s) - f(g s) |
    transition      | rho_Z(g) T(z, a) - T(rho_Z(g) z, g a) |     at the start
    model           | rho_Z(g) p_h - p_h^g |
    distances       | |f(s) - f(s')| - |f(g s) - f(g s')| |
                    | |p_h - t'_h| - |p_h^g - t'_h^g| |

s' and t'_h belong to another episode, see `partners`. Errors are given in these forms:

    KIND_centred      divided by the typical distance of two different states' latents: the root
                      mean square of |f(s) - f(s')|, or of |t_h - t'_h| for rollouts
    KIND              divided by the mean norm of f(s), as in the authors' code
    KIND_raw          not divided
    distance_invariance_error_over_chance
                      divided by the mean change between the distances of two different pairs

A constant that is added to all latents lowers the form by the mean norm without merit, and none
of the others. (Of equivariance, if the group leaves the constant alone; otherwise it is an error.)

    backdrop_share = variance between the means of each backdrop / all variance

of the latents of first states: 0 if a part does not depend on the backdrop, 1 if it depends on
nothing else.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from orbit.core.groups.irreps import isotypic_shares
from orbit.core.store.manifest import Manifest
from pipeline.methods.world_model.measures.encoding import Episodes, MeasuredModel, acted, partners
from pipeline.methods.world_model.measures.following import Followed, divisions, follow, hit_metrics
from pipeline.methods.world_model.measures.turning import (
    hard_hit_metrics,
    traversal_metrics,
    turning_solid,
)
from pipeline.metrics.images import DistanceErrors, ErrorsByElement, distances, lengths
from pipeline.metrics.latents import Drift, latent_spread
from pipeline.world_models.world_model import LatentParts

Errors = dict[str, ErrorsByElement]


@torch.no_grad()
def equivariance_errors(
    model: MeasuredModel, followed: Followed, batch: int, device: torch.device
) -> Errors:
    """`latent`, `transition` and `model/horizon_H`; empty if the group has no action on latents.
    `batch` episodes are processed at a time."""
    errors: Errors = {}
    norm = lengths(followed.start[0])
    for copy, g in enumerate(followed.elements[1:], 1):
        for first in range(0, len(g), batch):
            places = slice(first, first + batch)
            pairs = _equivariance_pairs(model, followed, copy, places, device)
            for name, (wanted, actual) in pairs.items():
                errors.setdefault(name, ErrorsByElement(model.group))
                errors[name].add(g[places], distances(wanted, actual).cpu(), norm[places])
    return errors


def _equivariance_pairs(
    model: MeasuredModel, followed: Followed, copy: int, places: slice, device: torch.device
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Pairs of expected and actual latents of some episodes; empty without an action on latents."""
    g = followed.elements[copy][places]
    start, moved_start = (followed.start[which, places].to(device) for which in (0, copy))
    action, moved_action = (followed.actions[which, places, 0].to(device) for which in (0, copy))
    turned = acted(model.act_on_latent, start, g)
    if turned is None:
        return {}
    pairs = {"latent": (turned, moved_start)}
    plain = {"transition": model.predict(start, action).float()}
    moved = {"transition": model.predict(turned, moved_action).float()}
    for horizon, predicted in followed.predicted.items():
        plain[f"model/horizon_{horizon}"] = predicted[0, places].to(device)
        moved[f"model/horizon_{horizon}"] = predicted[copy, places].to(device)
    for name, latent in plain.items():
        wanted = acted(model.act_on_latent, latent, g)
        assert wanted is not None
        pairs[name] = (wanted, moved[name])
    return pairs


def distance_errors(model: MeasuredModel, followed: Followed) -> dict[str, DistanceErrors]:
    """`latent` and `model/horizon_H`; empty if no element moved two episodes."""
    errors: dict[str, DistanceErrors] = {}
    pairs = {"latent": (followed.start, followed.start)}
    for horizon, predicted in followed.predicted.items():
        pairs[f"model/horizon_{horizon}"] = (predicted, followed.true[horizon])
    norm = lengths(followed.start[0])
    for copy, g in enumerate(followed.elements[1:], 1):
        first, second = partners(g)
        for name, (one, other) in pairs.items():
            plain, moved = (distances(one[c, first], other[c, second]) for c in (0, copy))
            errors.setdefault(name, DistanceErrors(model.group))
            errors[name].add(g[first], plain, moved, norm[first])
    return errors


def typical_distances(followed: Followed) -> dict[str, float]:
    """The root mean square distance of two episodes' latents, by the name of an error: of first
    states, and for rollouts of the true states at the horizon."""
    start = math.sqrt(2) * latent_spread(followed.start[0])
    typical = dict.fromkeys(("encoder", "latent", "transition"), start)
    for horizon, true in followed.true.items():
        typical[f"model/horizon_{horizon}"] = math.sqrt(2) * latent_spread(true[0])
    return typical


@torch.no_grad()
def irrep_metrics(model: MeasuredModel, latents: torch.Tensor) -> dict[str, float]:
    """`irreps/NAME`: shares of the variance of latents (N, ...) about their mean, summing to 1.

    Empty for an infinite group, a group without irreps, latents without an action of the group, and
    latents that are all equal.
    """
    group = model.group
    if group.num_elements is None:
        return {}
    try:
        irreps = group.irreps(0)
    except ValueError:
        return {}
    elements = group.elements()
    centred = latents - latents.double().mean(0).to(latents.dtype)
    correlations = []
    for g in elements:
        moved = acted(model.act_on_latent, centred, g.expand(len(centred), *g.shape))
        if moved is None:
            return {}
        correlations.append((centred.double() * moved.double()).flatten(1).sum(1).mean())
    shares = isotypic_shares(irreps, elements, torch.stack(correlations))
    return {f"irreps/{name}": share for name, share in shares.items()}


def part_metrics(
    latent: torch.Tensor, episodes: Episodes, manifest: Manifest, parts: LatentParts | None
) -> dict[str, float]:
    """`mask/fraction_variant` if there is a mask, and `backdrop_share/...` if there are backdrops.

    `latent` (N, ...) are those of the first states of the episodes. Empty if there is neither.
    """
    metrics: dict[str, float] = {}
    pieces = {"latent": latent}
    if parts is not None:
        metrics["mask/fraction_variant"] = parts.mask.is_variant().double().mean().item()
        pieces |= parts.split(latent)
    place = manifest.facts.fixed_part
    if place is not None:
        states = episodes.column("state", np.arange(len(latent)), 0, 1)[:, 0]
        kinds = torch.from_numpy(states[:, place]).long().to(latent.device)
        for name, piece in pieces.items():
            metrics[f"backdrop_share/{name}"] = between_share(piece, kinds)
    return metrics


def between_share(values: torch.Tensor, kinds: torch.Tensor) -> float:
    """Share of the variance of values (N, ...) between the means of kinds (N,); 0 without any."""
    flat = values.flatten(1).double()
    centred = flat - flat.mean(0)
    total = float(centred.square().sum())
    if total <= 0:
        return 0.0
    between = sum(
        float((kinds == kind).sum()) * float(centred[kinds == kind].mean(0).square().sum())
        for kind in kinds.unique()
    )
    return between / total


HORIZONS = (1, 5, 10, 100)
DRIFT_STEPS = 100


def horizons_of(episodes: Episodes) -> list[int]:
    """The horizons for which these episodes are long enough."""
    return [h for h in HORIZONS if h <= episodes.length]


def drift_steps_of(episodes: Episodes) -> int:
    """The number of steps for which drift can be measured."""
    return min(DRIFT_STEPS, episodes.length)


def measure_episodes(
    model: MeasuredModel,
    episodes: Episodes,
    manifest: Manifest,
    batch: int,
    device: torch.device,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics by name, and curves. The manifest says which actions training has seen."""
    horizons, steps = horizons_of(episodes), drift_steps_of(episodes)
    followed = follow(model, episodes, horizons, steps, batch, device)
    actions = followed.actions[0].numpy()
    parts = divisions(manifest, episodes, actions, horizons)
    metrics = hit_metrics(followed, parts, device)
    metrics["num_ranked"] = float(episodes.num_episodes)
    equivariance = {
        "embedding": followed.embedding.embedding,
        "encoder": followed.embedding.encoder,
        **equivariance_errors(model, followed, batch, device),
    }
    changes = {"embedding": followed.embedding.distance, **distance_errors(model, followed)}
    distance = {name: each.by_element for name, each in changes.items()}
    typical, embedding = typical_distances(followed), followed.embedding
    curves: dict[str, Any] = {"drift": drift_curve(followed)}
    for part in parts:
        name = f"num_{part.names[0].partition('_')[0]}"
        curves[name] = {h: int(chosen.sum()) for h, chosen in part.known.items()}
    for kind, errors in (
        ("equivariance_error", equivariance),
        ("distance_invariance_error", distance),
    ):
        of_embedding = embedding.typical_start if errors is distance else embedding.typical
        metrics |= error_metrics(kind, errors, typical | {"embedding": of_embedding.value.item()})
        curves[kind] = {
            name: {element: row._asdict() for element, row in each.table().items()}
            for name, each in errors.items()
        }
    metrics |= chance_metrics(changes)
    metrics |= drift_metrics(followed) | change_metrics(followed)
    metrics |= part_metrics(followed.start[0], episodes, manifest, getattr(model, "parts", None))
    metrics |= irrep_metrics(model, followed.start.flatten(0, 1))
    solid = turning_solid(manifest, episodes.group)
    if solid is not None:
        metrics |= hard_hit_metrics(model, episodes, solid, batch, device)
        metrics |= traversal_metrics(model, episodes, solid, batch, device)
    return metrics, curves


def error_metrics(kind: str, errors: Errors, typical: Mapping[str, float]) -> dict[str, float]:
    """Mean errors over all elements: `KIND_centred/NAME`, divided by the typical distance with that
    name, `KIND/NAME`, by the mean norm, and `KIND_raw/NAME`.

    The first is left out if all latents are equal.
    """
    metrics: dict[str, float] = {}
    for name, each in errors.items():
        total = each.total()
        if total.num:
            if typical[name] > 0:
                metrics[f"{kind}_centred/{name}"] = total.raw / typical[name]
            metrics[f"{kind}/{name}"] = total.relative
            metrics[f"{kind}_raw/{name}"] = total.raw
    return metrics


def chance_metrics(changes: Mapping[str, DistanceErrors]) -> dict[str, float]:
    """`distance_invariance_error_over_chance/NAME`; left out if all pairs are equally distant."""
    return {
        f"distance_invariance_error_over_chance/{name}": each.by_element.total().raw / each.chance
        for name, each in changes.items()
        if each.chance > 0
    }


def drift_metrics(followed: Followed) -> dict[str, float]:
    """`rollout_error/horizon_H`, divided by the typical distance of two truths, and raw."""
    metrics: dict[str, float] = {}
    errors, relative = followed.drift.errors, relative_drift(followed.drift)
    last = len(errors) - 1
    for horizon in sorted({*followed.true, last}):
        metrics[f"rollout_error/horizon_{horizon}"] = relative[horizon]
        metrics[f"rollout_error_raw/horizon_{horizon}"] = float(errors[horizon])
    return metrics


def change_metrics(followed: Followed) -> dict[str, float]:
    """`change_error/horizon_H`: the mean error divided by how far the truth has moved from its
    start.

    Left out if nothing has moved. Hits do not show whether a model predicts no change at all,
    because episodes may differ in something that actions do not move.
    """
    metrics = {}
    for horizon, true in followed.true.items():
        change = distances(true[0], followed.start[0]).mean().item()
        if change > 0:
            error = distances(followed.predicted[horizon][0], true[0]).mean().item()
            metrics[f"change_error/horizon_{horizon}"] = error / change
    return metrics


def drift_curve(followed: Followed) -> dict[str, Any]:
    """Errors for each number of steps from 0, and the numbers of requested and available steps."""
    errors = followed.drift.errors.tolist()
    return {
        "steps_wanted": DRIFT_STEPS,
        "steps_measured": len(errors) - 1,
        "error_raw": errors,
        "typical_distance": followed.drift.typical.tolist(),
        "error": [_finite(value) for value in relative_drift(followed.drift)],
    }


def relative_drift(drift: Drift) -> list[float]:
    """Errors divided by typical distances; infinite if all truths are equal."""
    return [
        0.0 if error == 0 else error / typical if typical > 0 else math.inf
        for error, typical in zip(drift.errors.tolist(), drift.typical.tolist(), strict=True)
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
