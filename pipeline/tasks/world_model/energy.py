"""Energies of pairs of latents, and the negatives of a global batch."""

from collections.abc import Callable

import torch
from torch import nn

from pipeline.global_batch import gather_rows
from pipeline.global_batch.ranks import rank_number


def energy(
    first: torch.Tensor, second: torch.Tensor, num_objects: int, sigma: float
) -> torch.Tensor:
    """|x - y|^2 / (2 sigma^2), a mean over objects and a sum over all else, (B,) float32.

    The released code's: a sum over all numbers of a latent that is one whole.
    """
    squares = (first.float() - second.float()).square().flatten(1).sum(1)
    return squares / (2 * sigma**2 * num_objects)


def negatives(latent: torch.Tensor, num_negatives: int) -> list[torch.Tensor]:
    """For each row, the latents of the next rows of the global batch, around its end.

    The order of a global batch is a uniformly random permutation already: the row j places
    on is a uniformly random other one, at any number of ranks, without a further draw. (The
    released code permutes the batch anew, which lets a row be its own negative.) Latents
    are those of current states. Raises ValueError if there are not so many other rows.
    """
    rows = gather_rows(latent)
    num_rows, num_own = len(rows), len(latent)
    if num_negatives >= num_rows:
        raise ValueError(
            f"a global batch of {num_rows} has no {num_negatives} negatives for each of its records"
            " (task.loss.num_negatives times num_candidates)"
        )
    first = rank_number() * num_own
    # Rolled rather than indexed: the gradient of an index adds up in no fixed order on a GPU.
    return [rows.roll(-shift - first, 0)[:num_own] for shift in range(1, num_negatives + 1)]


def nearest_negatives(
    latent: torch.Tensor,
    num_negatives: int,
    num_candidates: int,
    invariant: Callable[[torch.Tensor], torch.Tensor],
) -> list[torch.Tensor]:
    """`negatives`, each the one of its own `num_candidates` with the nearest `invariant` part.

    The next `num_candidates` rows stand for the first negative, those after them for the
    second, and so on. The choice has no gradient; the first of equally near ones is taken.
    """
    others = negatives(latent, num_negatives * num_candidates)
    if num_candidates == 1:
        return others
    own = invariant(latent.detach()).float()
    chosen = []
    for first in range(0, len(others), num_candidates):
        candidates = torch.stack(others[first : first + num_candidates])
        apart = (invariant(candidates.detach()).float() - own).square().flatten(2).sum(2)
        is_chosen = nn.functional.one_hot(apart.argmin(0), num_candidates).t() > 0
        mask = is_chosen.view(*is_chosen.shape, *[1] * (latent.dim() - 1))
        chosen.append(torch.where(mask, candidates, 0.0).sum(0))
    return chosen
