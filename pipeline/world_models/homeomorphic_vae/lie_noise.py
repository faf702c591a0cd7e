"""Random rotations about a mean: a Gaussian in the Lie algebra, pushed to the group.

    R = M exp(v),  v ~ N(0, diag(s^2))                                  (Falorsi et al.)
    q(R) = sum_k N(v_k; 0, s) |v_k|^2 / (2 - 2 cos |v|),  v_k = v (|v| + 2 pi k) / |v|

q is a density with regard to the Haar measure of total volume 8 pi^2, which near the
identity is that of v. All k from -NUM_WRAPS to NUM_WRAPS are summed; more change nothing
for any s up to pi. Far beyond, the sum misses mass, the divergence becomes negative, and
training would let s grow without end: `MAX_STD` bounds it. Nothing is lost: q is nearest to
uniform at an s of about 1.6.
"""

import math

import torch

from pipeline.groups.matrix_exponential import antisymmetric_exponential

NUM_WRAPS = 3
MAX_STD = math.pi
LOG_VOLUME = math.log(8 * math.pi**2)
MIN_ANGLE = 1e-3


def bounded(std: torch.Tensor) -> torch.Tensor:
    """Positive standard deviations, kept below MAX_STD; small ones stay what they are."""
    return MAX_STD * (std / MAX_STD).tanh()


def exponential(vector: torch.Tensor) -> torch.Tensor:
    """Rotation matrices (B, 3, 3) of rotation vectors (B, 3): axis times angle."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    return antisymmetric_exponential(torch.stack([torch.stack(row, -1) for row in rows], -2))


def log_density(vector: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """log q of M exp(v) for v (B, 3) and standard deviations (B, 3); the same for any M."""
    angle = vector.norm(dim=-1).clamp_min(MIN_ANGLE)
    wraps = 2 * math.pi * torch.arange(-NUM_WRAPS, NUM_WRAPS + 1, device=vector.device)
    angles = angle[:, None] + wraps
    wrapped = vector[:, None] * (angles / angle[:, None])[..., None]
    gaussian = -0.5 * (wrapped / std[:, None]).square().sum(-1)
    gaussian = gaussian - std.log().sum(-1, keepdim=True) - 1.5 * math.log(2 * math.pi)
    # 2 - 2 cos a = 4 sin^2(a / 2), which keeps its digits for small angles.
    volume = 2 * angles.abs().log() - 2 * (2 * (angle / 2).sin().abs()).log()[:, None]
    density: torch.Tensor = (gaussian + volume).logsumexp(1)
    return density


def divergence(vector: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """KL divergence of q from the uniform distribution, estimated at v, (B,)."""
    return log_density(vector, std) + LOG_VOLUME
