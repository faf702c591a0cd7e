"""Which numbers of an equivariant kernel are the same number.

A kernel maps fibres b at place p + q to fibres a at p: y_a(p) = sum K_{ab}(q) x_b(p + q).
It commutes with the group if K_{ag, bg}(q) = K_{ab}(g q), so a kernel is one free number for
each orbit of triples (a, b, q) under (a, b, q) -> (a g, b g, g^-1 q).
"""

from functools import cache

import torch

from pipeline.equivariant.representations import inverses, moved_places
from pipeline.groups.point_groups import point_group


@cache
def kernel_orbits(group: str, input: str, output: str, kernel_size: int) -> torch.Tensor:
    """The orbit of each number of a kernel, (output size, input size, k, k) int64.

    Orbits are numbered in the order in which they appear. Between regular fibres orbit
    m k^2 + u holds cell u of the map from fibre value m to fibre value 0.
    """
    out_places, in_places = moved_places(group, output), moved_places(group, input)
    cells = turned_cells(group, kernel_size)[inverses(group)]
    num_out, num_in, num_cells = out_places.shape[1], in_places.shape[1], cells.shape[1]
    # (|G|, a, b, q): where each element takes each triple.
    taken = out_places[:, :, None, None] * num_in + in_places[:, None, :, None]
    taken = (taken * num_cells + cells[:, None, None, :]).flatten(1)
    first = taken.amin(0)
    _, orbit = torch.unique(first, return_inverse=True)
    return orbit.view(num_out, num_in, kernel_size, kernel_size)


def num_kernel_orbits(group: str, input: str, output: str, kernel_size: int) -> int:
    """Number of free numbers of a kernel between one field and another."""
    return int(kernel_orbits(group, input, output, kernel_size).amax()) + 1


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
