"""Linear layers on vectors of fibres (..., G, c)."""

import torch
from torch import nn

from pipeline.world_models.fields.tables import order, weight_places


class FibreLinear(nn.Module):
    """y_a = sum_b W[b a^-1] x_b + bias, the bias shared over the fibre (paper: C4 convolution).

    `weight` (G, out, in) is uniform within 1 / (2 sqrt(in)), as in the released code.
    """

    bias: nn.Parameter | None
    selection: torch.Tensor

    def __init__(self, group: str, num_in: int, num_out: int, bias: bool = True) -> None:
        super().__init__()
        size = order(group)
        bound = 0.5 / num_in**0.5
        self.weight = nn.Parameter(torch.empty(size, num_out, num_in).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(num_out)) if bias else None
        # As a product rather than an index, whose gradient adds up in no fixed order on a GPU.
        selection = nn.functional.one_hot(weight_places(group), size).float()
        self.register_buffer("selection", selection, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size, num_out, num_in = self.weight.shape
        matrix = (self.selection.flatten(0, 1) @ self.weight.flatten(1)).view(
            size, size, num_out, num_in
        )
        matrix = matrix.transpose(1, 2).reshape(size * num_out, size * num_in)
        y = nn.functional.linear(x.flatten(-2), matrix).unflatten(-1, (size, num_out))
        return y if self.bias is None else y + self.bias
