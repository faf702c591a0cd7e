"""Hits of rollouts: each true latent ranks the predictions of all episodes."""

import math
from collections.abc import Sequence

import torch

from pipeline.analysis.worlds.following import Followed
from pipeline.analysis.worlds.seen import Division
from pipeline.metrics.differences import distances
from pipeline.metrics.ranking import hits_at, mean_reciprocal_rank, rank_predictions
from pipeline.metrics.spread import latent_spread, share_distinct

HITS_AT = (1, 5, 10)


def hit_metrics(
    followed: Followed, divisions: Sequence[Division], device: torch.device
) -> dict[str, float]:
    """Hits, ranks and what puts them in doubt, by horizon, over untransformed trajectories.

    Hits and errors of both sides of each division come apart.
    """
    metrics: dict[str, float] = {}
    for horizon, true in followed.true.items():
        true, predicted = true[0].to(device), followed.predicted[horizon][0].to(device)
        ranks = rank_predictions(true, predicted)
        end = f"horizon_{horizon}"
        metrics |= rank_metrics(ranks.rank, end)
        metrics[f"hits_at_1_strict/{end}"] = hits_at(1, ranks.rank + ranks.num_tied)
        metrics[f"ties/{end}"] = float((ranks.num_tied > 0).double().mean())
        metrics[f"latent_spread/{end}"] = latent_spread(true)
        metrics[f"distinct_latents/{end}"] = share_distinct(true)
        error = distances(true, predicted).cpu()
        for name, chosen in (part for each in divisions for part in _split(each, horizon)):
            metrics |= rank_metrics(ranks.rank[chosen.to(device)], f"{end}/{name}")
            typical = math.sqrt(2) * metrics[f"latent_spread/{end}"]
            if typical > 0:
                metrics[f"rollout_error/{end}/{name}"] = float(error[chosen].mean()) / typical
    return metrics


def rank_metrics(rank: torch.Tensor, end: str) -> dict[str, float]:
    """`hits_at_K/END` and `mrr/END` of ranks (N,)."""
    metrics = {f"hits_at_{k}/{end}": hits_at(k, rank) for k in HITS_AT}
    return {**metrics, f"mrr/{end}": mean_reciprocal_rank(rank)}


def _split(division: Division, horizon: int) -> tuple[tuple[str, torch.Tensor], ...]:
    """Both parts, unless one of them is empty and the other says nothing new."""
    known, (first, second) = division.known[horizon], division.names
    if bool(known.all()) or not bool(known.any()):
        return ()
    return ((first, known), (second, ~known))
