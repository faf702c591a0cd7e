"""Splitting a representation of a finite group into irreducible ones.

For matrices R(g) of a representation and D(g) of an irreducible one of size d, the operators

    P_kl = d / |G| sum over g of D(g)_kl R(g)

take the l-th coordinate of a copy of D in R to its k-th one and all else to 0 (Serre, Linear
Representations of Finite Groups, 2.7; for real D that stay irreducible over the complex numbers).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from pipeline.groups.interface import Irrep

TOLERANCE = 1e-6


class Copy(NamedTuple):
    """One copy of an irreducible representation: `rows` (d, n) with orthonormal rows take a
    vector of the representation to its d coordinates there."""

    name: str
    rows: torch.Tensor


def copies_of_irreps(
    irreps: Sequence[Irrep], elements: torch.Tensor, matrices: torch.Tensor
) -> list[Copy]:
    """The copies that orthogonal matrices (K, n, n) of all elements (K, ...) hold.

    Their rows together are an orthonormal basis, float64. ValueError if they are not, which
    is so for matrices that are no representation, and for irreps that are not all of the
    group's or are of complex type (the turns of c4, whose copies cannot be told apart so).
    """
    matrices = matrices.double()
    copies: list[Copy] = []
    for irrep in irreps:
        d = irrep.matrix(elements).double()
        operators = torch.einsum("gkl,gij->klij", d, matrices) * irrep.size / len(elements)
        for first in _orthonormal_range(operators[0, 0]):
            rows = torch.stack([operators[k, 0] @ first for k in range(irrep.size)])
            copies.append(Copy(irrep.name, rows))
    basis = torch.cat([copy.rows for copy in copies]) if copies else matrices[0, :0]
    identity = torch.eye(matrices.shape[1], dtype=torch.float64)
    if basis.shape != identity.shape or (basis @ basis.T - identity).abs().max() > TOLERANCE:
        raise ValueError("these matrices do not split into the given irreps")
    return copies


def _orthonormal_range(projection: torch.Tensor) -> list[torch.Tensor]:
    """An orthonormal basis of the range of an orthogonal projection (n, n), by Gram and Schmidt
    on its columns from the left: the same one on every machine."""
    basis: list[torch.Tensor] = []
    for column in projection.T:
        rest = column.clone()
        for vector in basis:
            rest -= (rest @ vector) * vector
        if rest.norm() > 1e-3:
            basis.append(rest / rest.norm())
    return basis
