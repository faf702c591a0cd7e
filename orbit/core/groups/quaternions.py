"""Unit quaternions (w, x, y, z) as rotations of space; pure functions on (..., 4) tensors.

q and -q are the same rotation. Everything uses elementwise operations, which mixed precision does
not change; a matrix product in bfloat16 would misplace pixels.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch


def multiply(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """The Hamilton product p q: first q turns, then p."""
    pw, px, py, pz = p.unbind(-1)
    qw, qx, qy, qz = q.unbind(-1)
    return torch.stack(
        (
            pw * qw - px * qx - py * qy - pz * qz,
            pw * qx + px * qw + py * qz - pz * qy,
            pw * qy - px * qz + py * qw + pz * qx,
            pw * qz + px * qy - py * qx + pz * qw,
        ),
        -1,
    )


def conjugate(q: torch.Tensor) -> torch.Tensor:
    """The inverse of unit quaternions."""
    return torch.cat((q[..., :1], -q[..., 1:]), -1)


def canonical(q: torch.Tensor) -> torch.Tensor:
    """q or -q, whichever has its first nonzero component positive."""
    sign = torch.ones_like(q[..., :1])
    for component in (3, 2, 1, 0):
        value = q[..., component : component + 1]
        sign = torch.where(value != 0, value.sign(), sign)
    return q * sign


def angle(q: torch.Tensor) -> torch.Tensor:
    """Angles of rotation in radians, 0 to pi, shape (...); accurate near both ends."""
    return 2 * torch.atan2(q[..., 1:].norm(dim=-1), q[..., 0].abs())


def rotation_vector(q: torch.Tensor) -> torch.Tensor:
    """Axis times angle, (..., 3), of length at most pi."""
    q = canonical(q)
    length = q[..., 1:].norm(dim=-1, keepdim=True)
    is_tiny = length < 1e-6
    # The angle is 2 asin(length), which for tiny angles is twice the length up to rounding.
    ratio = 2 * torch.atan2(length, q[..., :1]) / torch.where(is_tiny, 1.0, length)
    return torch.where(is_tiny, 2.0, ratio) * q[..., 1:]


def from_axis(axis: Sequence[float], degrees: float) -> torch.Tensor:
    """The rotation by an angle about an axis of any length, (4,) float64."""
    direction = torch.tensor(axis, dtype=torch.float64)
    half = math.radians(degrees) / 2
    real = torch.tensor([math.cos(half)], dtype=torch.float64)
    return torch.cat((real, math.sin(half) * direction / direction.norm()))


def to_matrix(q: torch.Tensor) -> torch.Tensor:
    """Rotation matrices (..., 3, 3) acting on columns (x, y, z)."""
    w, x, y, z = q.unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def from_matrix(matrix: torch.Tensor) -> torch.Tensor:
    """Canonical unit quaternions (..., 4) of rotation matrices (..., 3, 3)."""
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in matrix.unbind(-2))
    # Row n is 4 q_n q, so every row gives the quaternion, and the longest row has lost no digits.
    rows = (
        (1 + a + e + i, h - f, c - g, d - b),
        (h - f, 1 + a - e - i, b + d, c + g),
        (c - g, b + d, 1 - a + e - i, f + h),
        (d - b, c + g, f + h, 1 - a - e + i),
    )
    candidates = torch.stack([torch.stack(row, -1) for row in rows], -2)
    longest = candidates.diagonal(dim1=-2, dim2=-1).argmax(-1)
    index = longest[..., None, None].expand(*longest.shape, 1, 4)
    q = candidates.gather(-2, index).squeeze(-2)
    return canonical(q / q.norm(dim=-1, keepdim=True))


def sample(rng: np.random.Generator, num: int) -> torch.Tensor:
    """`num` canonical quaternions, uniform over all rotations, (num, 4) float32."""
    q = torch.from_numpy(rng.standard_normal((num, 4)))
    return canonical(q / q.norm(dim=-1, keepdim=True)).to(torch.float32)


def from_uniforms(uniforms: torch.Tensor) -> torch.Tensor:
    """Canonical quaternions (N, 4) float32 at points (N, 3) float64 of the unit cube.

    Uniform over all rotations if the points are uniform (Shoemake, Graphics Gems III): two circles
    in four-dimensional space, whose squared radii sum to 1, uniformly divided.
    """
    share, first, second = uniforms.unbind(1)
    circles = [
        radius * turn
        for radius, angle in (((1 - share).sqrt(), first), (share.sqrt(), second))
        for turn in ((2 * math.pi * angle).sin(), (2 * math.pi * angle).cos())
    ]
    return canonical(torch.stack(circles, 1)).to(torch.float32)


def name(q: torch.Tensor) -> str:
    """One rotation (4,) as text, degrees and axis: "90 z", "120 [1 1 1]", "57 [0.3 0.5 0.8]".

    The angle is from 0 to 180, and the sign of the axis follows: "90 -z" is 270 degrees about z.
    """
    degrees = f"{math.degrees(float(angle(q))):.0f}"
    if degrees == "0":
        return "0"
    axis = rotation_vector(q.to(torch.float64))
    axis = axis / axis.abs().max()
    steps = axis.round()
    if (axis - steps).abs().max() > 1e-3:
        axis = axis / axis.norm()
        return f"{degrees} [{' '.join(f'{value:.1f}' for value in axis.tolist())}]"
    if steps.abs().sum() == 1:
        component = int(steps.abs().argmax())
        return f"{degrees} {'-' if steps[component] < 0 else ''}{'xyz'[component]}"
    return f"{degrees} [{' '.join(f'{value:.0f}' for value in (steps + 0.0).tolist())}]"
