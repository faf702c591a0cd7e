"""Errors under a group, apart for each element or range of elements."""

from typing import NamedTuple

import torch

from pipeline.groups import Group
from pipeline.metrics.differences import MeanError


class Row(NamedTuple):
    """One bin of elements: number of samples, mean error, and that by the mean norm."""

    num: int
    raw: float
    relative: float


class ErrorsByElement:
    """A `MeanError` for each bin of a group's elements (`Group.bin_names`)."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.bins = [MeanError() for _ in group.bin_names]

    def add(self, g: torch.Tensor, error: torch.Tensor, norm: torch.Tensor) -> None:
        """Count errors and norms (N,) of samples that elements (N, ...) have moved."""
        bins = self.group.bin_index(g.cpu())
        for index in bins.unique().tolist():
            chosen = bins == index
            self.bins[index].add(error.cpu()[chosen], norm.cpu()[chosen])

    def total(self) -> MeanError:
        """Over all samples."""
        total = MeanError()
        for each in self.bins:
            total = total.join(each)
        return total

    def table(self) -> dict[str, Row]:
        """Bins that were met, by name."""
        return {
            name: Row(each.num, each.raw, each.relative)
            for name, each in zip(self.group.bin_names, self.bins, strict=True)
            if each.num
        }
