"""Real irreducible representations of c4, d4 and the rotations of the cube."""

import math

import torch

from pipeline.groups import point_matrices


def irrep_tables(group: str, matrices: torch.Tensor) -> dict[str, torch.Tensor]:
    """Orthogonal matrices (K, size, size) float32 by name, trivial first.

    `matrices` (K, k, k) int64 are the group's elements. Empty for a group other than
    `c4`, `d4` and `octahedral`.
    """
    tables = {"c4": _cyclic, "d4": _dihedral, "octahedral": _octahedral}.get(group)
    return tables(matrices) if tables else {}


def _cyclic(matrices: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "trivial": torch.ones(4, 1, 1),
        "sign": _swaps_axes(matrices),
        "rotation": matrices.to(torch.float32),
    }


def _dihedral(matrices: torch.Tensor) -> dict[str, torch.Tensor]:
    """B1 is +1 for mirrors along the axes of the lattice, B2 for those along its diagonals."""
    mirror = _one_dimensional(point_matrices.determinants(matrices))
    swap = _swaps_axes(matrices)
    return {
        "A1": torch.ones(8, 1, 1),
        "A2": mirror,
        "B1": swap,
        "B2": swap * mirror,
        "E": matrices.to(torch.float32),
    }


def _octahedral(matrices: torch.Tensor) -> dict[str, torch.Tensor]:
    """A2 is the parity with which the axes change places, E the same on the plane x+y+z = 0."""
    permutations = matrices.abs()
    parity = _one_dimensional(point_matrices.determinants(permutations))
    # In whole numbers up to the lengths of these axes: the same bits on every machine.
    plane = torch.tensor([[1, -1, 0], [1, 1, -2]])
    between = math.sqrt(2 * 6)
    lengths = torch.tensor([[2.0, between], [between, 6.0]], dtype=torch.float64)
    turned = (plane @ permutations @ plane.T) / lengths
    return {
        "A1": torch.ones(24, 1, 1),
        "A2": parity,
        "E": turned.to(torch.float32),
        "T1": matrices.to(torch.float32),
        "T2": matrices * parity,
    }


def _swaps_axes(matrices: torch.Tensor) -> torch.Tensor:
    """-1 where x and y change places, else +1."""
    return _one_dimensional(1 - 2 * matrices[:, 0, 1].abs())


def _one_dimensional(values: torch.Tensor) -> torch.Tensor:
    return values.to(torch.float32)[:, None, None]
