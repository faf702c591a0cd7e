"""The Fourier form of convolutions and products between regular fields, and when it is faster.

For an irrep D of size d let

    P(v)[a, b](p) = sum_h D(h^-1)[a, b] sum_q v(h q) x_h(p + q)

for filters v from a basis of the kernels' cells. These are fixed linear functions of the input. The
output's Fourier coefficients follow from them by products that do not depend on the fibre's value a
or the position p: y[a, e] = sum_{b, v} P(v)[a, b] W(v)[b, e] with W(v)[b, e] = sum_m <v, psi_m(m^-1
.)> D(m)[b, e], where psi_m is the kernel from fibre value m to fibre value 0. Instead of |G|^2 k^2
products (576 for d4 and k = 3) this needs 108, or 72 with the six smooth filters; for c4, 54 or 36
instead of 144.

y_h = sum_k W[k h^-1] x_k is a product in the group algebra. In the basis of irreps it splits into
one small product for each: 5 c^2 instead of 16 c^2 multiplications for c4, 12 c^2 instead of 64 c^2
for d4. Outputs and gradients are those of the plain form up to rounding.
"""

import math
from functools import cache
from typing import NamedTuple

import torch
from torch.nn import functional

from pipeline.equivariant.fields import inverses
from pipeline.equivariant.steerable_basis import (
    irreps,
    lattice_basis,
    num_copies,
    steerable_basis,
    turned_cells,
)


class FourierTables(NamedTuple):
    """Tables in float64; features, coefficients and weights are in the order of `blocks`.

    `blocks` (size d, rows r) of each irrep; a real irrep of complex type has one row, from which
    the other follows. `analysis` (sum of r d F, |G|, k, k) is a kernel from a fibre to features [a,
    b, v] of F filters, `synthesis` (sum of r d, |G|) maps coefficients [a, e] back to the fibre,
    `factors` (sum of d F d, num_weights) from a layer's weights to those of the blocks, [b, v, e].
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

    By Gram-Schmidt in the order of the kernels, so that they are the same on every machine; a
    singular value decomposition may mix filters of equal singular values.
    """
    if basis == "lattice":
        return torch.eye(kernel_size**2, dtype=torch.float64)
    spanning = steerable_basis(group, "trivial", "regular", kernel_size, dilation).rows
    filters: list[torch.Tensor] = []
    for row in spanning:
        rest = row
        for _ in range(2):  # a second time to remove rounding errors
            for other in filters:
                rest = rest - (rest * other).sum() * other
        if rest.norm() > 1e-6 * row.norm():
            filters.append(rest / rest.norm())
    return torch.stack(filters)


MIN_FIELDS = {"c4": 192, "d4": 32}
"""From this number of input and output fields on, this form is faster, as measured on a CPU."""


def is_conv_faster(group: str, num_in: int, num_out: int) -> bool:
    """Whether to use this form for these numbers of regular fields."""
    return min(num_in, num_out) >= MIN_FIELDS[group]


def fourier_conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    tables: FourierTables,
    stride: int,
    padding: int,
    dilation: int,
) -> torch.Tensor:
    """Maps (N, num_in |G|, H, W), weights (num_out, num_in, num_weights) to maps without bias."""
    num_out, num_in, _ = weight.shape
    num, order = len(x), tables.synthesis.shape[1]
    height, width = x.shape[-2:]
    fields = x.reshape(num * num_in, order, height, width)
    analysis = tables.analysis.to(x.dtype)
    features = functional.conv2d(fields, analysis, None, stride, padding, dilation)
    height, width = features.shape[-2:]
    features = features.view(num, num_in, -1, height * width)
    factors = weight @ tables.factors.to(weight.dtype).T
    coefficients = []
    for (size, num_rows), part, factor in zip(
        tables.blocks,
        features.split([r * d * tables.num_filters for d, r in tables.blocks], 2),
        factors.split([d * tables.num_filters * d for d, _ in tables.blocks], 2),
        strict=True,
    ):
        depth = size * tables.num_filters
        # (a, N, places, in, b v) times (in, b v, out, e).
        left = part.unflatten(2, (num_rows, depth)).permute(2, 0, 4, 1, 3).flatten(3)
        right = factor.unflatten(2, (depth, size)).permute(1, 2, 0, 3)
        product = left @ right.reshape(num_in * depth, num_out * size)
        # (a, N, places, out, e) to (N, out, a e, places).
        product = product.unflatten(3, (num_out, size)).permute(1, 3, 0, 4, 2)
        coefficients.append(product.flatten(2, 3))
    fibres = tables.synthesis.to(x.dtype).T @ torch.cat(coefficients, 2)
    return fibres.reshape(num, num_out * order, height, width)


MIN_CHANNELS = {"c4": 96, "d4": 32}
MIN_CHANNELS_COMPILED = {"c4": 32, "d4": 16}
"""From this number of input and output channels on, this form is faster, as measured on a CPU."""


def is_linear_faster(group: str, num_in: int, num_out: int) -> bool:
    """Whether to use this form; in compiled code the sums around the products are cheaper."""
    limits = MIN_CHANNELS_COMPILED if torch.compiler.is_compiling() else MIN_CHANNELS
    return min(num_in, num_out) >= limits[group]


def fourier_linear(group: str, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Fibres (..., |G|, num_in), weights (|G|, num_out, num_in) to (..., |G|, num_out)."""
    rows = x.reshape(-1, *x.shape[-2:])
    y = _c4_linear(rows, weight) if group == "c4" else _d4_linear(rows, weight)
    return y.view(*x.shape[:-1], weight.shape[1])


def _c4_linear(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Two real products and one complex one, computed by three multiplications (Gauss)."""
    total, alternating, p, q = _waves(x, 1)
    w_total, w_alternating, w_p, w_q = _waves(weight, 0)
    # The complex product: u = w_p p + w_q q, v = w_p q - w_q p.
    inputs = torch.stack((total, alternating, p + q, q, p))
    weights = torch.stack((w_total, w_alternating, w_p, w_q - w_p, w_q + w_p))
    a, b, common, second, first = torch.bmm(inputs, weights.mT).unbind(0)
    even, odd = (a + b) * 0.25, (a - b) * 0.25
    u, v = (common + second) * 0.5, (common - first) * 0.5
    return torch.stack((even + u, odd + v, even - u, odd - v), 1)


def _d4_linear(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Four products for A1, A2, B1, B2 and one of 2x2 blocks for the two copies of E."""
    turns, mirrored = x.split(4, 1)
    s, alternating, p, q = _waves(turns, 1)
    m_s, m_alternating, m_p, m_q = _waves(mirrored, 1)
    w_turns, w_mirrored = weight.split(4, 0)
    w_s, w_alternating, w_p, w_q = _waves(w_turns, 0)
    v_s, v_alternating, v_p, v_q = _waves(w_mirrored, 0)
    lines = torch.stack(
        (s + m_s, s - m_s, alternating + m_alternating, alternating - m_alternating)
    )
    w_lines = torch.stack(
        (w_s + v_s, w_s - v_s, w_alternating + v_alternating, w_alternating - v_alternating)
    )
    a1, a2, b1, b2 = torch.bmm(lines, w_lines.mT * 0.125).unbind(0)
    # The two rows of sum_h x_h D(h^-1), side by side, and sum_m W_m D(m).
    planes = torch.cat((torch.cat((p - m_p, q - m_q), 1), torch.cat((-q - m_q, p + m_p), 1)))
    w_planes = torch.cat(
        (torch.cat((w_p - v_p, -w_q - v_q), 0), torch.cat((w_q - v_q, w_p + v_p), 0)), 1
    )
    upper, lower = (planes @ (w_planes.mT * 0.25)).chunk(2)
    y00, y01 = upper.chunk(2, 1)
    y10, y11 = lower.chunk(2, 1)
    even, odd = a1 + a2 + b1 + b2, a1 + a2 - b1 - b2
    m_even, m_odd = a1 - a2 + b1 - b2, a1 - a2 - b1 + b2
    u, v, m_u, m_v = y00 + y11, y01 - y10, y11 - y00, -y01 - y10
    return torch.stack(
        (
            *(even + u, odd + v, even - u, odd - v),
            *(m_even + m_u, m_odd + m_v, m_even - m_u, m_odd - m_v),
        ),
        1,
    )


def _waves(x: torch.Tensor, dim: int) -> tuple[torch.Tensor, ...]:
    """Sum, alternating sum and the two differences of opposite values of four along an axis."""
    x0, x1, x2, x3 = x.unbind(dim)
    s, t = x0 + x2, x1 + x3
    return s + t, s - t, x0 - x2, x1 - x3
