"""The pointwise equivariant layer (the paper's C4-conv)."""

import math

import torch
from torch import nn

from pipeline.equivariant.kernel_orbits import kernel_orbits, num_kernel_orbits
from pipeline.equivariant.representations import PERMUTATIONS, check_representation


class GroupLinear(nn.Module):
    """Linear layer on fibres (..., fibre, num_in) -> (..., fibre, num_out) of c4 or d4.

    y_h = sum_k W[k h^-1] x_k + b: all linear maps that commute with the group. For c4 this is
    the paper's C4-conv, y_g = sum_h W[(h - g) mod 4] x_h + b. `weight` is
    (num_relations, num_out, num_in) with as many relations as there are orbits of pairs of
    fibre values (|G| between regular fibres, 2 from a quotient fibre to a regular one);
    drawn from U(-0.5, 0.5) / sqrt(num_in) as in the released code. The bias (num_out,) is
    shared over the fibre and begins at 0. `input` and `output` name representations:
    `trivial`, `quotient` or `regular`. For inputs of several kinds add the outputs of several
    layers, one of which has a bias. ValueError for unknown names.
    """

    relations: torch.Tensor

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
        for representation in (input, output):
            check_representation(group, representation)
            if representation not in PERMUTATIONS:
                raise ValueError(f"layers act on {', '.join(PERMUTATIONS)}, not {representation!r}")
        self.group, self.num_in, self.num_out = group, num_in, num_out
        self.input_representation, self.output_representation = input, output
        relations = kernel_orbits(group, input, output, 1)[:, :, 0, 0]
        self.register_buffer("relations", relations, persistent=False)
        num_relations = num_kernel_orbits(group, input, output, 1)
        weight = (torch.rand(num_relations, num_out, num_in) - 0.5) / math.sqrt(num_in)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(num_out)) if bias else None

    def matrix(self) -> torch.Tensor:
        """The matrix of the plain linear layer, (out fibre * num_out, in fibre * num_in)."""
        blocks = self.weight.index_select(0, self.relations.flatten())
        blocks = blocks.unflatten(0, self.relations.shape)
        return blocks.transpose(1, 2).flatten(2, 3).flatten(0, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.linear(x.flatten(-2), self.matrix())
        y = y.unflatten(-1, (self.relations.shape[0], self.num_out))
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        return (
            f"{self.group}, {self.num_in} {self.input_representation} to"
            f" {self.num_out} {self.output_representation}"
        )
