"""What a decoder's last layer means: grey values by a Tanh, or logits of a binary shape."""

from typing import Literal

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

OutputKind = Literal["tanh", "logits"]


def as_images(raw: torch.Tensor, kind: OutputKind) -> torch.Tensor:
    """Decoder values to images in [-1, 1]; of logits, 2 p - 1."""
    return raw.tanh() if kind == "tanh" else (raw / 2).tanh()


def reconstruction_losses(
    raw: torch.Tensor, images: torch.Tensor, target: torch.Tensor, kind: OutputKind
) -> torch.Tensor:
    """Squared error (the paper's) or binary cross-entropy of every value, for targets in [-1, 1].

    `images` are `as_images(raw, kind)`.
    """
    if kind == "tanh":
        return (images - target).square()
    return binary_cross_entropy_with_logits(raw, (target + 1) / 2, reduction="none")
