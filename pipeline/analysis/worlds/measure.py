"""All that is measured of a world model on the episodes of a split."""

import math
from typing import Any

import torch

from data_prep.store.manifest import Manifest
from pipeline.analysis.worlds.episodes import Episodes
from pipeline.analysis.worlds.face import WorldModel
from pipeline.analysis.worlds.following import Followed, follow
from pipeline.analysis.worlds.hits import hit_metrics
from pipeline.analysis.worlds.irrep_shares import irrep_metrics
from pipeline.analysis.worlds.latent_errors import Errors, distance_errors, equivariance_errors
from pipeline.analysis.worlds.parts import part_metrics
from pipeline.analysis.worlds.seen import divisions
from pipeline.analysis.worlds.turning import hard_hit_metrics, traversal_metrics, turning_world
from pipeline.metrics.differences import distances
from pipeline.metrics.drift import Drift

HORIZONS = (1, 5, 10, 100)
DRIFT_STEPS = 100


def horizons_of(episodes: Episodes) -> list[int]:
    """The horizons that these episodes are long enough for."""
    return [h for h in HORIZONS if h <= episodes.length]


def drift_steps_of(episodes: Episodes) -> int:
    """How far drift can be followed."""
    return min(DRIFT_STEPS, episodes.length)


def measure_episodes(
    model: WorldModel,
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
    distance = {
        "embedding": followed.embedding.distance,
        **distance_errors(model, followed),
    }
    curves: dict[str, Any] = {"drift": drift_curve(followed)}
    for part in parts:
        name = f"num_{part.names[0].partition('_')[0]}"
        curves[name] = {h: int(chosen.sum()) for h, chosen in part.known.items()}
    for kind, errors in (
        ("equivariance_error", equivariance),
        ("distance_invariance_error", distance),
    ):
        metrics |= error_metrics(kind, errors)
        curves[kind] = {
            name: {element: row._asdict() for element, row in each.table().items()}
            for name, each in errors.items()
        }
    metrics |= drift_metrics(followed) | change_metrics(followed)
    metrics |= part_metrics(followed.start[0], episodes, manifest, getattr(model, "parts", None))
    metrics |= irrep_metrics(model, followed.start.flatten(0, 1))
    world = turning_world(manifest, episodes.group)
    if world is not None:
        metrics |= hard_hit_metrics(model, episodes, world, batch, device)
        metrics |= traversal_metrics(model, episodes, world, batch, device)
    return metrics, curves


def error_metrics(kind: str, errors: Errors) -> dict[str, float]:
    """`KIND/NAME`, the mean error by the mean norm, and `KIND_raw/NAME` over all elements."""
    metrics: dict[str, float] = {}
    for name, each in errors.items():
        total = each.total()
        if total.num:
            metrics[f"{kind}/{name}"] = total.relative
            metrics[f"{kind}_raw/{name}"] = total.raw
    return metrics


def drift_metrics(followed: Followed) -> dict[str, float]:
    """`rollout_error/horizon_H`, by the typical distance of two truths, and raw."""
    metrics: dict[str, float] = {}
    errors, relative = followed.drift.errors, relative_drift(followed.drift)
    last = len(errors) - 1
    for horizon in sorted({*followed.true, last}):
        metrics[f"rollout_error/horizon_{horizon}"] = relative[horizon]
        metrics[f"rollout_error_raw/horizon_{horizon}"] = float(errors[horizon])
    return metrics


def change_metrics(followed: Followed) -> dict[str, float]:
    """`change_error/horizon_H`: the mean error by how far the truth has moved from its start.

    Left out where nothing has moved. Hits do not show that a model predicts no change at all:
    what tells episodes apart need not be what actions move.
    """
    metrics = {}
    for horizon, true in followed.true.items():
        change = distances(true[0], followed.start[0]).mean().item()
        if change > 0:
            error = distances(followed.predicted[horizon][0], true[0]).mean().item()
            metrics[f"change_error/horizon_{horizon}"] = error / change
    return metrics


def drift_curve(followed: Followed) -> dict[str, Any]:
    """Errors for each number of steps from 0, and how many steps were asked for and are there."""
    errors = followed.drift.errors.tolist()
    return {
        "steps_wanted": DRIFT_STEPS,
        "steps_measured": len(errors) - 1,
        "error_raw": errors,
        "typical_distance": followed.drift.typical.tolist(),
        "error": [_finite(value) for value in relative_drift(followed.drift)],
    }


def relative_drift(drift: Drift) -> list[float]:
    """Errors by typical distances; infinite where all truths are equal."""
    return [
        0.0 if error == 0 else error / typical if typical > 0 else math.inf
        for error, typical in zip(drift.errors.tolist(), drift.typical.tolist(), strict=True)
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
