"""The contrastive loss of paper 2: energies of pairs of latents, negatives of a global batch.

Hits and negatives do not depend on the batch size or the world size.

    e(x, y)   = |x - y|^2 / (2 sigma^2)            mean over objects, sum over the rest
    positive  = mean_i e(T(z_i, a_i), z'_i)
    negative  = mean_i mean_j max(0, hinge - e(z_i, z_i+j))

and our additions,

    change_weight * mean_i max(0, hinge - e(z_i, z'_i))
    variant_weight * the share of S's outputs that a learned mask selects

Negatives differ in something that no action changes (headings, backdrops), which can satisfy the
hinge alone; the first of these terms needs what actions change. If a state does not change, the
energy is at its minimum of 0 and has no gradient, so such records do no harm.

Two more additions ask for what T needs: a share of negatives from a record's own episode
(`same_episode_share`), which do not differ in what no action changes, and the hinge of negatives
for each object (`hinge_per_object`), so that no object can stay in one place of the latent.

z are latents of current states, z' of next ones, z_i+j negatives (see `energy`). Distances are
squared, while the paper's formula has norms; each negative has its own hinge, while the released
code averages the negatives' energies first (which is the same for one).

Current and next states go through S and E in two calls, as in the released code: batch norm takes
the statistics of each separately, and its running statistics include both.

Negatives are other records of the same global batch, for any world size: uniformly random other
records, or other states of a record's own episode. Nothing is drawn: the order of a global batch is
already a random permutation.
"""

import math
from collections.abc import Iterator

import torch
from torch import nn

from pipeline.global_batch import gather_rows, num_ranks, rank_number
from pipeline.methods.world_model.settings import ContrastiveConfig
from pipeline.world_models.world_model import WorldModel


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


def energy(
    first: torch.Tensor, second: torch.Tensor, num_objects: int, sigma: float
) -> torch.Tensor:
    """|x - y|^2 / (2 sigma^2), a mean over objects and a sum over all else, (B,) float32.

    As in the released code; a latent without objects is summed over all its numbers.
    """
    squares = (first.float() - second.float()).square().flatten(1).sum(1)
    return squares / (2 * sigma**2 * num_objects)


def object_energies(first: torch.Tensor, second: torch.Tensor, sigma: float) -> torch.Tensor:
    """The same of each object of latents (B, n, ...), (B, n) float32; their mean is `energy`."""
    squares = (first.float() - second.float()).square().flatten(2).sum(2)
    return squares / (2 * sigma**2)


def pushed(
    latent: torch.Tensor, other: torch.Tensor, apart: torch.Tensor, config: ContrastiveConfig
) -> torch.Tensor:
    """max(0, hinge - e) of negatives, (B,) float32, for their energies `apart` (B,); with
    `hinge_per_object` its mean over objects, of each one's own energy."""
    if not config.hinge_per_object:
        return (config.hinge - apart).clamp_min(0)
    each = object_energies(latent, other, config.sigma)
    return (config.hinge - each).clamp_min(0).mean(1)


def own_change(
    latent: torch.Tensor,
    following: torch.Tensor,
    action: torch.Tensor,
    moved: torch.Tensor,
    config: ContrastiveConfig,
) -> torch.Tensor:
    """max(0, hinge - e) of states and their next, (B,) float32, for their energies `moved` (B,);
    with `hinge_per_object` the energy of the object that the action moves, its first number."""
    if config.hinge_per_object:
        each = object_energies(latent, following, config.sigma)
        moved = each.gather(1, action[:, :1].round().long())[:, 0]
    return (config.hinge - moved).clamp_min(0)


GROUP_SIZE = 256

Rows = tuple[torch.Tensor, ...]
"""Tensors with one row per record."""


class Groups:
    """Collects the rows of all ranks until a group is complete. All ranks add at the same time."""

    def __init__(self) -> None:
        self._waiting: Rows = ()

    def add(self, *rows: torch.Tensor) -> Iterator[Rows]:
        """Add this rank's rows of a global batch; returns the groups that are now complete, on
        every rank."""
        gathered = tuple(map(gather_rows, rows))
        pairs = zip(self._waiting, gathered, strict=True)
        self._waiting = tuple(map(torch.cat, pairs)) if self._waiting else gathered
        while len(self._waiting[0]) >= GROUP_SIZE:
            yield tuple(x[:GROUP_SIZE] for x in self._waiting)
            self._waiting = tuple(x[GROUP_SIZE:] for x in self._waiting)

    def rest(self) -> Iterator[Rows]:
        """The last group, if there are rows left."""
        left, self._waiting = self._waiting, ()
        if left and len(left[0]):
            yield left


def own_places(num: int, device: torch.device) -> torch.Tensor:
    """The positions in a group of `num` that this rank compares with all others, (M,) int64."""
    rank, world_size = rank_number(), num_ranks()
    first, last = (num * number // world_size for number in (rank, rank + 1))
    return torch.arange(first, last, device=device)


TERM_NAMES = ("loss/total", "loss/positive", "loss/negative", "latent_spread", "latent_change")
SAME_EPISODE_TERM = "same_episode_share"
"""The share of negatives that are states of the record's own episode, if some shall be."""


class ContrastiveObjective(nn.Module):
    """Pulls predictions to the next latents, pushes latents of other states away."""

    def __init__(self, model: WorldModel, config: ContrastiveConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(
        self,
        source: torch.Tensor,
        target: torch.Tensor,
        action: torch.Tensor,
        label: torch.Tensor,
        valid: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss and the vector of `TERM_NAMES`, and `SAME_EPISODE_TERM`; labels are the numbers
        of episodes, and used for that term only.

        `latent_spread` is the mean energy of negatives without the hinge, `latent_change` that
        of each state and its next.
        """
        model, config = self.model, self.config
        latent, following = model.latent(source), model.latent(target)
        predicted = model.predict(latent, action)
        positive = energy(predicted, following, model.num_objects, config.sigma).mean()
        others = negatives(latent, config.num_negatives)
        replacing = []
        if config.same_episode_share:
            first = rank_number() * len(latent)
            own = slice(first, first + len(latent))
            rows, episodes = gather_rows(latent), gather_rows(label)
            share = config.same_episode_share
            others, replaced_share = replaced(others, rows, episodes, own, share)
            replacing = [replaced_share]
        apart = torch.stack(
            [energy(latent, other, model.num_objects, config.sigma) for other in others]
        )
        pairs = zip(others, apart, strict=True)
        negative = torch.stack([pushed(latent, *pair, config) for pair in pairs]).mean()
        moved = energy(latent, following, model.num_objects, config.sigma)
        total = positive + negative
        if config.change_weight:
            change = own_change(latent, following, action, moved, config)
            total = total + config.change_weight * change.mean()
        if model.parts is not None and config.variant_weight:
            total = total + config.variant_weight * model.parts.mask().mean()
        terms = [total, positive, negative, apart.mean(), moved.mean(), *replacing]
        return total, torch.stack(terms).detach()
