"""A latent action: regular fields. The group moves the cells of the latent like pixels, and
permutes the channels.

The channels form blocks, with one channel for each element of a finite group: channel h of g z is
channel g^-1 h of z, with its cells moved. Features of group convolutions transform in this way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from orbit.api import Group, Kind


@dataclass(frozen=True)
class RegularConfig:
    name: Literal["regular"]


class RegularAction(nn.Module):
    """Latents (N, C, h, w) and elements (N,) to latents; C is a multiple of the group's order."""

    orders: torch.Tensor

    def __init__(
        self,
        config: RegularConfig,
        group: Group,
        frame_shape: tuple[int, ...],
        latent_shape: Sequence[int],
    ) -> None:
        super().__init__()
        num = group.num_elements
        if num is None or latent_shape[0] % num:
            raise ValueError(
                f"task.action.name=regular needs a finite group and a multiple of its order, not"
                f" {latent_shape[0]} latent channels under {group.name}"
            )
        group.check_latent_shape(tuple(latent_shape[1:]))
        self.group, self.block_sizes = group, (num,) * (latent_shape[0] // num)
        h = group.elements()
        rows = [group.compose(group.inverse(g.expand(num)), h) for g in h]
        orders = torch.stack([group.element_index(row) for row in rows])
        self.register_buffer("orders", orders, persistent=False)

    def forward(self, latent: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        moved = self.group.act_on_latent(latent, g)
        blocks = moved.unflatten(1, (len(self.block_sizes), -1))
        order = self.orders[self.group.element_index(g)]
        index = order[:, None, :, None, None].expand_as(blocks)
        return blocks.gather(2, index).flatten(1, 2)


ACTION = Kind("regular", RegularConfig, RegularAction)
