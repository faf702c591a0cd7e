"""Rotation matrices (B, 3, 3) from network outputs and action vectors, always in float32.

Products are written out, as mixed precision would round a matrix product.
"""

import torch
from torch.nn.functional import normalize

from pipeline.groups import quaternions

MIN_LENGTH = 1e-6


def gram_schmidt(vectors: torch.Tensor) -> torch.Tensor:
    """The rotation whose first columns span what u and v, (B, 6) or (B, 2, 3), span.

    u' = u / |u|, v' = v - (u' . v) u' scaled to length 1, w' = u' x v'; columns u', v', w'.
    """
    u, v = vectors.float().reshape(-1, 2, 3).unbind(1)
    u = normalize(u, dim=-1, eps=MIN_LENGTH)
    v = normalize(v - (u * v).sum(-1, keepdim=True) * u, dim=-1, eps=MIN_LENGTH)
    return torch.stack((u, v, torch.linalg.cross(u, v)), -1)


def multiply(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The matrix product of batches of 3x3 matrices."""
    return (first.float()[..., None] * second.float()[..., None, :, :]).sum(-2)


def action_matrix(action: torch.Tensor) -> torch.Tensor:
    """Rotation matrices of action vectors (B, 4), quaternions of any length."""
    action = action.float()
    return quaternions.to_matrix(action / action.norm(dim=-1, keepdim=True))


def act_by_multiplying(matrices: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """g z for unit quaternions g: how SO(3) acts on embeddings and latents."""
    return multiply(quaternions.to_matrix(g.float()), matrices)
