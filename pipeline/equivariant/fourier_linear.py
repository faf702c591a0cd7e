"""The group-linear layer between regular fibres in the group's Fourier basis.

y_h = sum_k W[k h^-1] x_k is a product in the group's algebra: in the basis of irreps it falls
into one small product for each, (|G| c)^2 multiplications into 5 c^2 of 16 for c4 and 12 c^2
of 64 for d4. Outputs and gradients are those of the plain form up to rounding.
"""

import torch

MIN_CHANNELS = {"c4": 96, "d4": 32}
MIN_CHANNELS_COMPILED = {"c4": 32, "d4": 16}
"""From so many channels on, in and out, this form is the faster one, as measured on a CPU."""


def is_faster(group: str, num_in: int, num_out: int) -> bool:
    """Whether to use this form; compiled code makes the sums around the products cheaper."""
    limits = MIN_CHANNELS_COMPILED if torch.compiler.is_compiling() else MIN_CHANNELS
    return min(num_in, num_out) >= limits[group]


def fourier_linear(group: str, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Fibres (..., |G|, num_in), weights (|G|, num_out, num_in) to (..., |G|, num_out)."""
    rows = x.reshape(-1, *x.shape[-2:])
    y = _c4_linear(rows, weight) if group == "c4" else _d4_linear(rows, weight)
    return y.view(*x.shape[:-1], weight.shape[1])


def _c4_linear(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Two real products and one complex one, that of three multiplications (Gauss)."""
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
