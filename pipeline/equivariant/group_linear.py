"""The pointwise equivariant layer (the paper's C4-conv)."""

import torch
from torch import nn


class GroupLinear(nn.Module):
    """Linear layer on fibres (..., fibre, num_in) -> (..., fibre, num_out) of c4 or d4.

    y_h = sum_k W[k h^-1] x_k + b: all linear maps that commute with the group. For c4 this is
    the paper's C4-conv, y_g = sum_h W[(h - g) mod 4] x_h + b. `weight` is
    (relations, num_out, num_in) with as many relations as there are orbits of pairs of
    fibre values (|G| between regular fibres, 2 from a quotient fibre to a regular one);
    drawn from U(-0.5, 0.5) / sqrt(num_in) as in the released code. The bias (num_out,) is
    shared over the fibre and begins at 0. `input` and `output` name representations:
    `trivial`, `quotient` or `regular`. For inputs of several kinds add the outputs of several
    layers, one of which has a bias. ValueError for unknown names.
    """

    def __init__(
        self,
        group: str,
        num_in: int,
        num_out: int,
        *,
        input: str = "regular",
        output: str = "regular",
        bias: bool = True,
    ) -> None:
        super().__init__()
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError
