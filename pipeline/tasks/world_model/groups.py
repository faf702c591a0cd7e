"""Records that are compared with each other: always 256 neighbours of a split, in its order.

So hits and negatives do not depend on how many records go through the model at a time, nor on
how many ranks there are.
"""

from collections.abc import Iterator

import torch

from pipeline.global_batch import gather_rows
from pipeline.global_batch.ranks import num_ranks, rank_number

GROUP_SIZE = 256

Rows = tuple[torch.Tensor, ...]
"""Tensors with one row a record."""


class Groups:
    """Collects the rows of all ranks until a group is whole. All ranks add together."""

    def __init__(self) -> None:
        self._waiting: Rows = ()

    def add(self, *rows: torch.Tensor) -> Iterator[Rows]:
        """This rank's rows of a global batch; the groups that are whole now, on every rank."""
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
    """The places of a group of `num` that this rank compares with the others, (M,) int64."""
    rank, world_size = rank_number(), num_ranks()
    first, last = (num * number // world_size for number in (rank, rank + 1))
    return torch.arange(first, last, device=device)
