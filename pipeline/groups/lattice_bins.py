"""Sets of lattice symmetries by which metrics are broken down.

A group of few elements has each for itself. Else rotations go by their kind, with pure
shifts apart, and groups of shifts alone by the length of the shift on the torus.
"""

import itertools
from functools import cache

import torch

from pipeline.groups.point_groups import PointGroup

MAX_NAMED = 8
"""Up to so many elements are told apart one by one."""


def lattice_bin_names(point: PointGroup, num_steps: int, step: int) -> tuple[str, ...]:
    """Names of the bins of a group of more than `MAX_NAMED` elements, identity first.

    `num_steps` shifts of `step` pixels lead once around the torus.
    """
    if num_steps == 1:
        return ("identity", *point.kind_names)
    if point.num_elements > 1:
        return ("identity", "shift", *point.kind_names)
    quarter, half = num_steps * step / 4, num_steps * step / 2
    ranges = (f"shift 0-{quarter:g}", f"shift {quarter:g}-{half:g}", f"shift over {half:g}")
    occupied = _occupied_ranges(num_steps, point.num_axes)
    return ("identity", *(ranges[index] for index in occupied))


def lattice_bin_index(
    point: PointGroup, num_steps: int, kind: torch.Tensor, steps: torch.Tensor
) -> torch.Tensor:
    """Positions in `lattice_bin_names`, (N,) int64.

    `kind` (N,) int64 is 0 for the point identity, else 1 plus the position in
    `point.kind_names`; `steps` (N, k) int64 are the shifts, 0 to num_steps - 1.
    """
    if num_steps == 1:
        return kind
    moves = steps.any(1)
    if point.num_elements > 1:
        return torch.where(kind > 0, kind + 1, moves.to(torch.int64))
    length = torch.minimum(steps, num_steps - steps).square().sum(1)
    first = _occupied_ranges(num_steps, point.num_axes)[0]
    return (_length_range(length, num_steps) + 1 - first).masked_fill(~moves, 0)


def _length_range(squared: torch.Tensor, num_steps: int) -> torch.Tensor:
    """0, 1, 2: up to a quarter of the period, up to half of it, longer; in whole numbers."""
    return (16 * squared > num_steps**2).to(torch.int64) + (4 * squared > num_steps**2)


@cache
def _occupied_ranges(num_steps: int, num_axes: int) -> tuple[int, ...]:
    """The ranges of length into which any shift falls; they follow one upon the other."""
    squares = [n * n for n in range(num_steps // 2 + 1)]
    sums = {sum(legs) for legs in itertools.combinations_with_replacement(squares, num_axes)}
    lengths = torch.tensor(sorted(sums - {0}))
    return tuple(sorted(set(_length_range(lengths, num_steps).tolist())))
