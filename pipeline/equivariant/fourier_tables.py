"""Fixed tables of the Fourier form of a convolution between regular fields.

For an irrep D of size d let

    P(v)[a, b](p) = sum_h D(h^-1)[a, b] sum_q v(h q) x_h(p + q)

for filters v from a basis of the kernels' cells. These are fixed sums of the input. The
output's Fourier coefficients follow from them by products in which neither the fibre's value
a nor the place p appears: y[a, e] = sum_{b, v} P(v)[a, b] W(v)[b, e] with
W(v)[b, e] = sum_m <v, psi_m(m^-1 .)> D(m)[b, e], where psi_m is the kernel from fibre value m
to fibre value 0. Of |G|^2 k^2 products (576 for d4 and k = 3) 108 remain, with the six smooth
filters 72; for c4 of 144 there remain 54, or 36.
"""

import math
from functools import cache
from typing import NamedTuple

import torch

from pipeline.equivariant.irreps import irreps, num_copies
from pipeline.equivariant.kernel_orbits import turned_cells
from pipeline.equivariant.representations import inverses
from pipeline.equivariant.steerable_basis import lattice_basis, steerable_basis


class FourierTables(NamedTuple):
    """All float64; features, coefficients and weights are in the order of `blocks`.

    `blocks` (size d, rows r) of each irrep; a real irrep of complex type has one row, from
    which the others follow. `analysis` (sum of r d F, |G|, k, k) is a kernel from a fibre to
    features [a, b, v] of F filters, `synthesis` (sum of r d, |G|) leads from coefficients
    [a, e] back to the fibre, `factors` (sum of d F d, num_weights) from a layer's weights to
    those of the blocks, [b, v, e].
    """

    blocks: tuple[tuple[int, int], ...]
    num_filters: int
    analysis: torch.Tensor
    synthesis: torch.Tensor
    factors: torch.Tensor


@cache
def fourier_tables(group: str, kernel_size: int, basis: str, dilation: int) -> FourierTables:
    """The tables of a layer with that `basis` (`lattice` or `steerable`)."""
    back = inverses(group)
    num, cells = len(back), turned_cells(group, kernel_size)
    filters = _filters(group, kernel_size, basis, dilation)
    between = (group, "regular", "regular", kernel_size)
    kernels = lattice_basis(*between) if basis == "lattice" else steerable_basis(*between, dilation)
    psi = kernels.rows.view(-1, num, kernel_size**2)
    blocks, analysis, synthesis, weights = [], [], [], []
    for name, matrices in irreps(group).items():
        size, num_rows = matrices.shape[-1], num_copies(group, name)
        scale = math.sqrt(size / num)
        blocks.append((size, num_rows))
        rows = matrices[back][:, :num_rows] * scale
        analysis.append(torch.einsum("hab,vhq->abvhq", rows, filters[:, cells]).flatten(0, 2))
        synthesis.append(rows.flatten(1).T)
        # psi_m(m^-1 u) for all u, then its parts along the filters.
        turned = torch.stack([psi[:, m, cells[back[m]]] for m in range(num)], 1)
        parts = torch.einsum("wmu,vu,mbe->bvew", turned, filters, matrices)
        weights.append(parts.flatten(0, 2))
    return FourierTables(
        tuple(blocks),
        len(filters),
        torch.cat(analysis).unflatten(-1, (kernel_size, kernel_size)),
        torch.cat(synthesis),
        torch.cat(weights),
    )


def _filters(group: str, kernel_size: int, basis: str, dilation: int) -> torch.Tensor:
    """Orthonormal filters (F, k^2) that span the kernels from one value to another.

    By Gram and Schmidt in the order of the kernels: the same ones on every machine, where a
    singular value decomposition may turn those of equal size among themselves.
    """
    if basis == "lattice":
        return torch.eye(kernel_size**2, dtype=torch.float64)
    spanning = steerable_basis(group, "trivial", "regular", kernel_size, dilation).rows
    filters: list[torch.Tensor] = []
    for row in spanning:
        rest = row
        for _ in range(2):  # once more for what rounding left
            for other in filters:
                rest = rest - (rest * other).sum() * other
        if rest.norm() > 1e-6 * row.norm():
            filters.append(rest / rest.norm())
    return torch.stack(filters)
