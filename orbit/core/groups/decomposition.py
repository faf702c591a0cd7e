"""Splitting a representation of a finite group into irreducible ones.

For matrices R(g) of a representation and D(g) of an irreducible one of size d, the operators

    P_kl = d / |G| sum over g of D(g)_kl R(g)

map the l-th coordinate of a copy of D in R to its k-th one and everything else to 0 (Serre, Linear
Representations of Finite Groups, 2.7; for real D that stay irreducible over the complex numbers).
The rotation of c4 does not: it is of complex type, a turn of its plane commutes with it, and P_00
keeps a whole copy. P_k0 still maps any vector there to its k-th partner.

With the character chi(g) = trace D(g) and m = 1 / |G| sum over g of chi(g)^2, which is 1, or 2
for complex type,

    P = d / (m |G|) sum over g of chi(g) R(g)

is the projection onto all copies of D together.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from orbit.core.groups.interface import Irrep

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

    Their rows together are an orthonormal basis, float64. Raises ValueError if they are not,
    because the matrices are not a representation or the irreps are not all of the group's.
    """
    matrices = matrices.double()
    copies: list[Copy] = []
    for irrep in irreps:
        d = irrep.matrix(elements).double()
        operators = torch.einsum("gk,gij->kij", d[:, :, 0], matrices) * irrep.size / len(elements)
        copies += [Copy(irrep.name, rows) for rows in _copies(operators)]
    basis = torch.cat([copy.rows for copy in copies]) if copies else matrices[0, :0]
    identity = torch.eye(matrices.shape[1], dtype=torch.float64)
    if basis.shape != identity.shape or (basis @ basis.T - identity).abs().max() > TOLERANCE:
        raise ValueError("these matrices do not split into the given irreps")
    return copies


def _copies(operators: torch.Tensor) -> list[torch.Tensor]:
    """Rows (d, n) of each copy, from the operators P_k0 (d, n, n), by Gram-Schmidt on the columns
    of P_00 from the left, so that they are the same on every machine."""
    found: list[torch.Tensor] = []
    for column in operators[0].T:
        rest = column.clone()
        for rows in found:
            rest -= rows.T @ (rows @ rest)
        if rest.norm() > 1e-3:
            found.append(operators @ (rest / rest.norm()))
    return found


def isotypic_shares(
    irreps: Sequence[Irrep], elements: torch.Tensor, correlations: torch.Tensor
) -> dict[str, float]:
    """For each irrep, the share of the mean squared norm of vectors x that lies in all its copies.

    `correlations` (K,) are the means of x . R(g) x for all elements (K, ...) of a group, the
    identity first; they are enough, since |P x|^2 = x . P x. The shares sum to 1 if the irreps
    are all of the group's and R is orthogonal. Empty where every x is 0.
    """
    whole = float(correlations[0])
    if whole <= 0:
        return {}
    shares = {}
    for irrep in irreps:
        character = irrep.matrix(elements).double().diagonal(dim1=1, dim2=2).sum(1)
        held = irrep.size * float(character @ correlations.double())
        # Rounding can give values below 0.
        shares[irrep.name] = max(0.0, held / (float(character.square().sum()) * whole))
    return shares
