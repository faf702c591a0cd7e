"""Energies of pairs of latents, and the negatives of a global batch."""

import torch

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
            f"task.loss.num_negatives={num_negatives} is not below the batch of {num_rows}"
        )
    first = rank_number() * num_own
    # Rolled rather than indexed: the gradient of an index adds up in no fixed order on a GPU.
    return [rows.roll(-shift - first, 0)[:num_own] for shift in range(1, num_negatives + 1)]
