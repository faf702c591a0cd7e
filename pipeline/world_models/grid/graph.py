"""The transition of objects: a graph network over all ordered pairs, without edge lists.

    e_ij = edge(z_i, z_j),  change of z_i = node(z_i, a_i, sum of e_ij over j other than i)

One code for free and for equivariant networks: `layer(num_in, num_out)` makes a linear
layer on the last axis (or on fibre and last axis), `norm(num)` a layer norm.
"""

from collections.abc import Callable

import torch
from torch import nn

from pipeline.equivariant import GroupLinear

Layer = Callable[[int, int], nn.Linear | GroupLinear]


class GraphTransition(nn.Module):
    """T(z, a) = z + change, for latents z (B, n, ..., latent) and actions a (B, n, ..., action).

    Two exact savings: the edge network's first layer is linear in (z_i, z_j), so it is
    applied to n objects and not to n (n - 1) pairs; and its last layer to the sum over j.
    """

    def __init__(
        self,
        layer: Layer,
        norm: Callable[[int], nn.Module],
        latent_size: int,
        action_size: int,
        hidden: int,
    ) -> None:
        super().__init__()
        joint = layer(2 * latent_size, hidden)
        self.receiver, self.sender = layer(latent_size, hidden), layer(latent_size, hidden)
        assert self.receiver.bias is not None
        assert joint.bias is not None
        with torch.no_grad():
            # Both halves as the layer on pairs would have been initialised.
            receiving, sending = joint.weight.split(latent_size, -1)
            self.receiver.weight.copy_(receiving)
            self.sender.weight.copy_(sending)
            self.receiver.bias.copy_(joint.bias)
        self.sender.register_parameter("bias", None)
        self.edge_hidden = nn.Sequential(nn.ReLU(), layer(hidden, hidden), norm(hidden), nn.ReLU())
        self.edge_output = layer(hidden, hidden)
        self.node = nn.Sequential(
            layer(latent_size + action_size + hidden, hidden),
            nn.ReLU(),
            layer(hidden, hidden),
            norm(hidden),
            nn.ReLU(),
            layer(hidden, latent_size),
        )

    def forward(self, latent: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        pairs = self.receiver(latent).unsqueeze(2) + self.sender(latent).unsqueeze(1)
        messages = self.edge_hidden(without_self(pairs)).sum(2)
        num_others = latent.shape[1] - 1
        bias = self.edge_output.bias
        assert bias is not None
        received = self.edge_output(messages) + (num_others - 1) * bias
        change: torch.Tensor = self.node(torch.cat((latent, action, received), -1))
        return latent + change


def without_self(pairs: torch.Tensor) -> torch.Tensor:
    """(B, n, n, ...) without its diagonal: (B, n, n - 1, ...)."""
    batch, n = pairs.shape[:2]
    rest = pairs.shape[3:]
    # Flat, a diagonal entry begins every run of n + 1.
    off_diagonal = pairs.flatten(1, 2)[:, 1:].view(batch, n - 1, n + 1, *rest)[:, :, :-1]
    return off_diagonal.reshape(batch, n, n - 1, *rest)
