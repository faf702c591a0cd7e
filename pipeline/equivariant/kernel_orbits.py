"""Which numbers of an equivariant kernel are the same number.

A kernel maps fibres b at place p + q to fibres a at p: y_a(p) = sum K_{ab}(q) x_b(p + q).
It commutes with the group if K_{ag, bg}(q) = K_{ab}(g q), so a kernel is one free number for
each orbit of triples (a, b, q) under (a, b, q) -> (a g, b g, g^-1 q). Where representations have
signs, the numbers of an orbit agree up to these, and some must be 0.
"""

from functools import cache
from typing import NamedTuple

import torch

from pipeline.equivariant.representations import inverses, moved_places, moved_signs
from pipeline.groups.point_groups import point_group


class KernelOrbits(NamedTuple):
    """`orbit` and `sign` of each number of a kernel, (output size, input size, k, k) int64 each.

    A number is its orbit's free number times 1 or -1, or 0 where an element asks it to be its
    own negative. Orbits are numbered in the order in which they appear, `num` of them.
    """

    orbit: torch.Tensor
    sign: torch.Tensor
    num: int


@cache
def kernel_orbits(group: str, input: str, output: str, kernel_size: int) -> KernelOrbits:
    """Between regular fibres orbit m k^2 + u holds cell u of the map from fibre value m to fibre
    value 0. ValueError if there is no kernel but 0."""
    out_places, in_places = moved_places(group, output), moved_places(group, input)
    out_signs, in_signs = moved_signs(group, output), moved_signs(group, input)
    cells = turned_cells(group, kernel_size)[inverses(group)]
    num_out, num_in, num_cells = out_places.shape[1], in_places.shape[1], cells.shape[1]
    # (|G|, a, b, q): where each element takes each triple, and with which sign.
    taken = out_places[:, :, None, None] * num_in + in_places[:, None, :, None]
    taken = (taken * num_cells + cells[:, None, None, :]).flatten(1)
    signs = (out_signs[:, :, None] * in_signs[:, None, :])[..., None].expand(-1, -1, -1, num_cells)
    first = taken.amin(0)
    at_first = (taken == first) * signs.flatten(1)
    # 0 if elements that lead to the same triple disagree.
    sign = (at_first > 0).any(0).to(torch.int64) - (at_first < 0).any(0).to(torch.int64)
    if not sign.any():
        raise ValueError(f"no kernel of side {kernel_size} leads from {input} to {output} fibres")
    kept = torch.unique(first[sign != 0])
    orbit = torch.searchsorted(kept, first).clamp_max(len(kept) - 1)
    shape = (num_out, num_in, kernel_size, kernel_size)
    return KernelOrbits(orbit.view(shape), sign.view(shape), len(kept))


@cache
def turned_cells(group: str, size: int) -> torch.Tensor:
    """Where each cell of a size x size array goes, (|G|, size^2) int64, cells row by row.

    Rows of an array run downwards, y upwards.
    """
    x, y = cell_places(size)
    turned = torch.einsum("gij,jn->gin", point_group(group).matrices, torch.stack((x, y)))
    # Odd distances in half cells for even sides, so that all stays in whole numbers.
    column, row = (turned[:, 0] + size - 1) // 2, (size - 1 - turned[:, 1]) // 2
    return row * size + column


def cell_places(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y of each cell of an array from its centre, in half cells, (size^2,) int64 each."""
    along = 2 * torch.arange(size) - (size - 1)
    y, x = torch.meshgrid(-along, along, indexing="ij")
    return x.flatten(), y.flatten()
