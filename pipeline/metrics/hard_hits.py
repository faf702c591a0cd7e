"""Hits against chosen negatives: states that are close to the true one (Park et al., "HH").

    rank_i = 1 + number of n with |p_i - f(s'_in)| <= |p_i - t_i|

Here the prediction ranks the true state and its own negatives. A negative as near as the truth
counts against it, so that equal latents are never hits.
"""

import torch

from pipeline.metrics.differences import lengths


def hard_ranks(
    true: torch.Tensor, predicted: torch.Tensor, negatives: torch.Tensor
) -> torch.Tensor:
    """Ranks (N,) int64 from 1 of true latents (N, ...) among their negatives (N, K, ...)."""
    num, count = negatives.shape[:2]
    if true.shape != predicted.shape or negatives.shape != (num, count, *true.shape[1:]):
        raise ValueError(
            f"latents {tuple(true.shape)}, {tuple(predicted.shape)} and negatives"
            f" {tuple(negatives.shape)} do not belong together"
        )
    own = lengths(predicted.double() - true.double())
    differences = predicted.double()[:, None] - negatives.double()
    others = lengths(differences.flatten(0, 1)).view(num, count)
    return 1 + (others <= own[:, None]).sum(1)
