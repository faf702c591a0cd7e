"""What parts of a latent know of the backdrop, which no action moves, and what a mask selects.

    backdrop_share = variance between the means of each backdrop / all variance

of the latents of first states: 0 where a part does not depend on the backdrop, 1 where it
depends on nothing else.
"""

import numpy as np
import torch

from data_prep.store.manifest import Manifest
from pipeline.analysis.worlds.episodes import Episodes
from pipeline.world_models.world_model import LatentParts


def part_metrics(
    latent: torch.Tensor, episodes: Episodes, manifest: Manifest, parts: LatentParts | None
) -> dict[str, float]:
    """`mask/fraction_variant` with a mask, and `backdrop_share/...` where there are backdrops.

    `latent` (N, ...) are those of the first states of the episodes. Nothing else has any.
    """
    metrics: dict[str, float] = {}
    pieces = {"latent": latent}
    if parts is not None:
        metrics["mask/fraction_variant"] = parts.mask.is_variant().double().mean().item()
        pieces |= parts.split(latent)
    if manifest.generator.get("settings", {}).get("num_backdrops"):
        states = episodes.column("state", np.arange(len(latent)), 0, 1)[:, 0]
        kinds = torch.from_numpy(states[:, -1]).long().to(latent.device)
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
