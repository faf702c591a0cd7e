"""The pointwise equivariant layer (the paper's C4-conv)."""

import math
from typing import Literal

import torch
from torch import nn

from pipeline.equivariant.fourier_linear import fourier_linear, is_faster
from pipeline.equivariant.kernel_orbits import kernel_orbits
from pipeline.equivariant.representations import SIGNED, check_representation

Form = Literal["auto", "plain", "fourier"]
FORMS = ("auto", "plain", "fourier")


def check_form(form: Form, input: str, output: str) -> Form:
    """The form a layer shall have: `auto` is `plain` between other than regular fibres.

    ValueError for an unknown form, and for one that does not exist between such fibres.
    """
    if form not in FORMS:
        raise ValueError(f"unknown form {form!r}; known: {', '.join(FORMS)}")
    if input == output == "regular":
        return form
    if form == "fourier":
        raise ValueError(f"there is no fourier form from {input} to {output} fibres, use auto")
    return "plain"


class GroupLinear(nn.Module):
    """Linear layer on fibres (..., fibre, num_in) -> (..., fibre, num_out) of c4 or d4.

    y_h = sum_k W[k h^-1] x_k + b: all linear maps that commute with the group. For c4 this is
    the paper's C4-conv, y_g = sum_h W[(h - g) mod 4] x_h + b. `weight` is
    (num_relations, num_out, num_in) with as many relations as there are orbits of pairs of
    fibre values (|G| between regular fibres, 2 from a quotient fibre to a regular one);
    drawn from U(-0.5, 0.5) / sqrt(num_in) as in the released code. The bias (num_out,) is
    shared over the fibre and begins at 0; `sign` and `standard` fibres have none. `input` and
    `output` name representations, see `representation_matrices`. For inputs of several kinds add
    the outputs of several layers, one of which has a bias.

    `form`: `plain` is one product with the full matrix, `fourier` one in the group's Fourier
    basis (between regular fibres), which needs less than half of the arithmetic for c4 and a
    fifth for d4; `auto` takes the faster one for the size. They differ by rounding only.
    ValueError for unknown names, for `fourier` between other fibres, and between fibres that no
    map but 0 joins (`trivial` and `sign`).
    """

    relations: torch.Tensor
    signs: torch.Tensor | None

    def __init__(
        self,
        group: str,
        num_in: int,
        num_out: int,
        *,
        input: str = "regular",
        output: str = "regular",
        bias: bool = True,
        form: Form = "auto",
    ) -> None:
        super().__init__()
        for representation in (input, output):
            check_representation(group, representation)
        self.group, self.num_in, self.num_out = group, num_in, num_out
        self.form = check_form(form, input, output)
        self.input_representation, self.output_representation = input, output
        orbits = kernel_orbits(group, input, output, 1)
        signs = None if (orbits.sign == 1).all() else orbits.sign[:, :, 0, 0]
        self.register_buffer("relations", orbits.orbit[:, :, 0, 0], persistent=False)
        self.register_buffer("signs", signs, persistent=False)
        weight = (torch.rand(orbits.num, num_out, num_in) - 0.5) / math.sqrt(num_in)
        self.weight = nn.Parameter(weight)
        has_bias = bias and output not in SIGNED
        self.bias = nn.Parameter(torch.zeros(num_out)) if has_bias else None

    def matrix(self) -> torch.Tensor:
        """The matrix of the plain linear layer, (out fibre * num_out, in fibre * num_in)."""
        blocks = self.weight.index_select(0, self.relations.flatten())
        blocks = blocks.unflatten(0, self.relations.shape)
        if self.signs is not None:
            blocks = blocks * self.signs[:, :, None, None]
        matrix: torch.Tensor = blocks.transpose(1, 2).flatten(2, 3).flatten(0, 1)
        return matrix

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        form = self.form
        if form == "auto":
            form = "fourier" if is_faster(self.group, self.num_in, self.num_out) else "plain"
        if form == "fourier":
            y = fourier_linear(self.group, x, self.weight)
        else:
            y = nn.functional.linear(x.flatten(-2), self.matrix())
            y = y.unflatten(-1, (self.relations.shape[0], self.num_out))
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        return (
            f"{self.group}, {self.num_in} {self.input_representation} to"
            f" {self.num_out} {self.output_representation}"
        )
