"""Negatives of the contrastive loss: other records of the same global batch, for any world size.

They are uniformly random other records, or other states of a record's own episode. Nothing is
drawn: the order of a global batch is already a random permutation.
"""

import math

import torch

from pipeline.global_batch import gather_rows, rank_number


def negatives(latent: torch.Tensor, num_negatives: int) -> list[torch.Tensor]:
    """For each row, the latents of the next rows of the global batch, cyclically.

    The order of a global batch is already a uniformly random permutation, so the row j positions
    later is a uniformly random other one, for any world size, without a further draw. (The released
    code permutes the batch anew, which lets a row be its own negative.) Latents are those of
    current states. Raises ValueError if there are not so many other rows.
    """
    rows = gather_rows(latent)
    num_rows, num_own = len(rows), len(latent)
    if num_negatives >= num_rows:
        raise ValueError(
            f"task.loss.num_negatives={num_negatives} is not below the batch of {num_rows}"
        )
    first = rank_number() * num_own
    # Rolled rather than indexed: the gradient of indexing is summed in no fixed order on a GPU.
    return [rows.roll(-shift - first, 0)[:num_own] for shift in range(1, num_negatives + 1)]


def same_episode_places(
    episodes: torch.Tensor, number: int, num: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each row the place of another row of its episode, (B,) int64, and whether there is one.

    The rows of an episode among `episodes` (B,) int64 are a cycle of n rows, in their order; the
    choices `number` of 1 to `num` are n / (num + 1) rows apart and differ if n > num. Every row is
    the choice of one row, so gradients are summed in the same order on every device.
    """
    order = episodes.argsort(stable=True)
    grouped, at = episodes[order], torch.arange(len(episodes), device=episodes.device)
    changes = grouped[1:] != grouped[:-1]
    edge = torch.ones(1, dtype=torch.bool, device=episodes.device)
    first = torch.where(torch.cat((edge, changes)), at, 0).cummax(0).values
    last = torch.where(torch.cat((changes, edge)), at, len(at)).flip(0).cummin(0).values.flip(0)
    length = last - first + 1
    step = (number * length // (num + 1)).clamp_min(number)
    places, exists = torch.empty_like(order), torch.empty_like(edge.expand(len(order)))
    places[order] = order[first + (at - first + step) % length]
    exists[order] = length > number
    return places, exists


def replaced(
    others: list[torch.Tensor], rows: torch.Tensor, episodes: torch.Tensor, own: slice, share: float
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Negatives (see `negatives`), a share of them replaced by other states of the same episode.

    Of the negatives of a global batch, counted row by row, number m is replaced if the whole
    part of m * share grows there: a share of 0.5 takes every second one. `rows` and `episodes` are
    those of the global batch, `own` the rows of this rank. Where a batch has no (further) state of
    the episode, the negative stays. Also returns the share of negatives that were replaced.
    """
    num, device = len(others), rows.device
    at = torch.arange(len(rows), dtype=torch.float64, device=device)
    before = (at * num * share).floor()
    most = math.ceil(num * share)
    choices = [same_episode_places(episodes, number, most) for number in range(1, most + 1)]
    found, count = [], torch.zeros((), device=device)
    for j, other in enumerate(others):
        so_far = ((at * num + j) * share).floor()
        after = ((at * num + j + 1) * share).floor()
        chosen = other
        for number, (places, exists) in enumerate(choices, 1):
            is_taken = ((after > so_far) & (after - before == number) & exists)[own]
            shape = (-1, *(1,) * (other.ndim - 1))
            chosen = torch.where(is_taken.view(shape), rows[places[own]], chosen)
            count = count + is_taken.float().mean() / num
        found.append(chosen)
    return found, count
