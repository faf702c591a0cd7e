"""Networks of the reacher that commute with turns and mirrors: E and T of `ours`, S of `full`.

Latents are (B, c, 8): c regular fields of D4, whose plane is one point.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from pipeline.equivariant import FieldBatchNorm2d, FieldType, GroupConv2d, GroupLinear
from pipeline.world_models.layers import OddMaxPool

NUM_TORQUES = 2

trivial, regular = partial(FieldType, "d4", "trivial"), partial(FieldType, "d4", "regular")


def _normed(layer: GroupConv2d) -> list[nn.Module]:
    return [layer, FieldBatchNorm2d(layer.output), nn.ReLU()]


def symmetric_embedding(
    num_in: int, num_out: int, num_fields: int, dilations: Sequence[int]
) -> nn.Sequential:
    """S of `full`: frames (B, C, s, s) to regular fields (B, 8 num_out, s/4, s/4)."""
    hidden = regular(num_fields)
    return nn.Sequential(
        *_normed(GroupConv2d(trivial(num_in), hidden, 3, stride=2, padding=1)),
        *(
            layer
            for d in dilations
            for layer in _normed(GroupConv2d(hidden, hidden, 3, padding=d, dilation=d))
        ),
        GroupConv2d(hidden, regular(num_out), 3, stride=2, padding=1),
    )


def symmetric_encoder(embedding: FieldType, num_fields: int, size: int) -> nn.Sequential:
    """E: fields (B, channels, s, s) to latents (B, size, 8)."""
    hidden = regular(num_fields)
    return nn.Sequential(
        *_normed(GroupConv2d(embedding, hidden, 3, stride=2, padding=1)),
        OddMaxPool(),
        *_normed(GroupConv2d(hidden, hidden, 3, stride=2, padding=1)),
        OddMaxPool(),
        *_normed(GroupConv2d(hidden, hidden, 3, padding=1)),
        OddMaxPool(),
        *_normed(GroupConv2d(hidden, hidden, 1)),
        *_normed(GroupConv2d(hidden, hidden, 1)),
        GroupConv2d(hidden, regular(size), 1),
        nn.Flatten(1),
        nn.Unflatten(1, (size, 8)),
    )


class SymmetricReacherTransition(nn.Module):
    """T(z, a) = z + MLP(z, a) for latents (B, c, 8) and two torques, which mirrors reverse.

    A torque t enters as the fibre (t, -t) of the quotient D4 / C4, whose two values mirrors
    exchange.
    """

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.latent = GroupLinear("d4", size, hidden)
        self.torques = GroupLinear("d4", NUM_TORQUES, hidden, input="quotient", bias=False)
        self.rest = nn.Sequential(
            nn.ReLU(),
            GroupLinear("d4", hidden, hidden),
            nn.ReLU(),
            GroupLinear("d4", hidden, size),
        )

    def forward(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        torques = torch.stack((action, -action), 1)
        change: torch.Tensor = self.rest(self.latent(latent.mT) + self.torques(torques))
        return latent + change.mT
