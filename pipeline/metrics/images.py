"""Errors of images (PSNR, squared errors) and relative errors of latents, also for each element.

    equivariance        | g f(s) - f(g s) |
    distance invariance | | f(s) - f(s') | - | f(g s) - f(g s') | |

with the Euclidean norm of flattened latents (Park et al., "EE" and "DIE"). The second needs no
action on f, but an f that preserves all distances may still not be equivariant.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from orbit.core.groups import Group


def distances(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Euclidean distances (N,) float64 of pairs of latents (N, ...) of one shape."""
    if first.shape != second.shape:
        raise ValueError(f"latents {tuple(first.shape)} and {tuple(second.shape)} do not pair up")
    return lengths(first.double() - second.double())


def lengths(latents: torch.Tensor) -> torch.Tensor:
    """Euclidean norms (N,) float64 of latents (N, ...)."""
    norms: torch.Tensor = latents.flatten(1).double().norm(dim=1)
    return norms


@dataclass
class MeanError:
    """Means over samples that come in batches: of an error, and of the norm that it is divided by.

    `raw` is the mean error, `relative` the mean error divided by the mean norm: the two
    forms in which the papers' tables and their code give it.
    """

    error_sum: float = 0.0
    norm_sum: float = 0.0
    num: int = 0

    def add(self, error: torch.Tensor, norm: torch.Tensor) -> None:
        """Add errors and norms of the same samples, (N,) each."""
        self.error_sum += float(error.double().sum())
        self.norm_sum += float(norm.double().sum())
        self.num += len(error)

    def join(self, other: "MeanError") -> "MeanError":
        """Combined means over the samples of both."""
        return MeanError(
            self.error_sum + other.error_sum, self.norm_sum + other.norm_sum, self.num + other.num
        )

    @property
    def raw(self) -> float:
        return self.error_sum / self.num if self.num else 0.0

    @property
    def relative(self) -> float:
        """The relative error: 0 if all norms and errors are 0; infinite if only the norms are 0."""
        if self.norm_sum > 0:
            return self.error_sum / self.norm_sum
        return 0.0 if self.error_sum == 0 else float("inf")


def psnr(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB for an error on [0, 1], at most 100."""
    return -10.0 * math.log10(max(mean_squared_error, 1e-10))


class Row(NamedTuple):
    """One bin of elements: number of samples, mean error, and mean error divided by the mean
    norm."""

    num: int
    raw: float
    relative: float


class ErrorsByElement:
    """A `MeanError` for each bin of a group's elements (`Group.bin_names`)."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.bins = [MeanError() for _ in group.bin_names]

    def add(self, g: torch.Tensor, error: torch.Tensor, norm: torch.Tensor) -> None:
        """Add errors and norms (N,) of samples that elements (N, ...) have moved."""
        bins = self.group.bin_index(g.cpu())
        for index in bins.unique().tolist():
            chosen = bins == index
            self.bins[index].add(error.cpu()[chosen], norm.cpu()[chosen])

    def total(self) -> MeanError:
        """The means over all samples."""
        total = MeanError()
        for each in self.bins:
            total = total.join(each)
        return total

    def table(self) -> dict[str, Row]:
        """Bins with samples, by name."""
        return {
            name: Row(each.num, each.raw, each.relative)
            for name, each in zip(self.group.bin_names, self.bins, strict=True)
            if each.num
        }


class DistanceErrors:
    """Changes of the distances of two latents when the group moves both, `by_element`.

    `chance` is the mean change between the distances of two different pairs, one before and one
    after the move: the error of latents that keep nothing of a pair's distance.
    """

    def __init__(self, group: Group) -> None:
        self.by_element = ErrorsByElement(group)
        self._plain: list[torch.Tensor] = []
        self._moved: list[torch.Tensor] = []

    def add(
        self, g: torch.Tensor, plain: torch.Tensor, moved: torch.Tensor, norm: torch.Tensor
    ) -> None:
        """Add distances (N,) of pairs before and after elements (N, ...) moved them, and the norms
        (N,) of latents."""
        self.by_element.add(g, (plain - moved).abs(), norm)
        self._plain.append(plain.double().cpu())
        self._moved.append(moved.double().cpu())

    @property
    def chance(self) -> float:
        """In units of the latent; 0 with fewer than two pairs."""
        if not self._plain:
            return 0.0
        plain, moved = torch.cat(self._plain), torch.cat(self._moved)
        num = len(plain)
        own = float((plain - moved).abs().sum())
        return (sum_of_differences(plain, moved) - own) / (num * (num - 1)) if num > 1 else 0.0


def sum_of_differences(first: torch.Tensor, second: torch.Tensor) -> float:
    """The sum of |a - b| over all a of (N,) and b of (M,), in float64."""
    first, ordered = first.double(), second.double().sort().values
    sums = torch.cat([ordered.new_zeros(1), ordered.cumsum(0)])
    num_below = torch.searchsorted(ordered, first)
    differences = first * (2 * num_below - len(ordered)) + sums[-1] - 2 * sums[num_below]
    return float(differences.sum())
