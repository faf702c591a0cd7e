"""Networks of the reacher that commute with turns and mirrors: E and T of `ours`, S of `full`.

Latents are (B, c, 8): c regular fields of D4, whose plane is one point.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from pipeline.global_batch import GlobalBatchNorm
from pipeline.world_models.fields.convolution import FieldConvolution
from pipeline.world_models.fields.linear import FibreLinear
from pipeline.world_models.layers import OddMaxPool

d4_convolution = partial(FieldConvolution, "d4")
NUM_TORQUES = 2


def _normed(layer: FieldConvolution) -> list[nn.Module]:
    return [layer, GlobalBatchNorm(len(layer.bias)), nn.ReLU()]


def symmetric_embedding(
    num_in: int, num_out: int, fields: int, dilations: Sequence[int]
) -> nn.Sequential:
    """S of `full`: frames (B, C, s, s) to regular fields (B, num_out, 8, s/4, s/4)."""
    return nn.Sequential(
        *_normed(d4_convolution(num_in, fields, 3, stride=2, padding=1, from_trivial=True)),
        *(
            layer
            for d in dilations
            for layer in _normed(d4_convolution(fields, fields, 3, padding=d, dilation=d))
        ),
        d4_convolution(fields, num_out, 3, stride=2, padding=1),
    )


class SymmetricReacherEncoder(nn.Sequential):
    """E: trivial maps (B, c, s, s) or regular fields (B, c, 8, s, s) to latents (B, size, 8)."""

    def __init__(self, num_in: int, from_trivial: bool, hidden: int, size: int) -> None:
        first = d4_convolution(num_in, hidden, 3, stride=2, padding=1, from_trivial=from_trivial)
        super().__init__(
            *_normed(first),
            FieldMaxPool(),
            *_normed(d4_convolution(hidden, hidden, 3, stride=2, padding=1)),
            FieldMaxPool(),
            *_normed(d4_convolution(hidden, hidden, 3, padding=1)),
            FieldMaxPool(),
            *_normed(d4_convolution(hidden, hidden, 1)),
            *_normed(d4_convolution(hidden, hidden, 1)),
            d4_convolution(hidden, size, 1),
            nn.Flatten(2),
        )


class FieldMaxPool(OddMaxPool):
    """The same on regular fields (B, c, 8, s, s)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flatten(1, 2)).unflatten(1, x.shape[1:3])


class SymmetricReacherTransition(nn.Module):
    """T(z, a) = z + MLP(z, a) for latents (B, c, 8) and two torques, which mirrors reverse.

    A torque t enters as the pair (t, -t), on which mirrors act by exchange: place h of a
    fibre sees the first of the pair if h turns only, the second if it mirrors. Each of the
    pair has a weight of its own, as in the released code.
    """

    sign: torch.Tensor

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.first = FibreLinear("d4", size, hidden)
        bound = 0.5 / NUM_TORQUES**0.5
        self.torque = nn.Parameter(torch.empty(2, hidden, NUM_TORQUES).uniform_(-bound, bound))
        self.rest = nn.Sequential(
            nn.ReLU(),
            FibreLinear("d4", hidden, hidden),
            nn.ReLU(),
            FibreLinear("d4", hidden, size),
        )
        sign = torch.tensor([1.0] * 4 + [-1.0] * 4)
        self.register_buffer("sign", sign, persistent=False)

    def forward(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        fibres = latent.mT  # (B, 8, c)
        reached = nn.functional.linear(action, self.torque[0] - self.torque[1])
        hidden = self.first(fibres) + self.sign[:, None] * reached[:, None]
        change: torch.Tensor = self.rest(hidden)
        return latent + change.mT
