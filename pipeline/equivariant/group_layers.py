"""Convolutions and products that commute with quarter turns and mirrors."""

import math
from typing import Literal

import torch
from torch import nn

from pipeline.equivariant.fields import SIGNED, FieldType, check_representation, check_size
from pipeline.equivariant.fourier import (
    FourierTables,
    fourier_conv2d,
    fourier_linear,
    fourier_tables,
    is_conv_faster,
    is_linear_faster,
)
from pipeline.equivariant.steerable_basis import kernel_orbits, lattice_basis, steerable_basis

Form = Literal["auto", "plain", "fourier"]
FORMS = ("auto", "plain", "fourier")


def check_form(form: Form, input: str, output: str) -> Form:
    """The form of a layer: `auto` becomes `plain` unless both fibres are regular.

    ValueError for an unknown form, and for a form that does not exist between these fibres.
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

    y_h = sum_k W[k h^-1] x_k + b: all linear maps that commute with the group. For c4 this is the
    paper's C4-conv, y_g = sum_h W[(h - g) mod 4] x_h + b. `weight` is (num_relations, num_out,
    num_in), with one relation for each orbit of pairs of fibre values (|G| between regular fibres,
    2 from a quotient fibre to a regular one); drawn from U(-0.5, 0.5) / sqrt(num_in) as in the
    released code. The bias (num_out,) is shared over the fibre and initialised to 0; `sign` and
    `standard` fibres have none. `input` and `output` name representations, see
    `representation_matrices`. For inputs of several kinds add the outputs of several layers, one of
    which has a bias.

    `form`: `plain` is one product with the full matrix, `fourier` one in the group's Fourier basis
    (between regular fibres), which needs less than half of the multiplications for c4 and a fifth
    for d4; `auto` takes the faster one for the size. They differ only by rounding. ValueError for
    unknown names, for `fourier` between other fibres, and between fibres with no nonzero map
    (`trivial` and `sign`).
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
            form = "fourier" if is_linear_faster(self.group, self.num_in, self.num_out) else "plain"
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


Basis = Literal["steerable", "lattice"]
BASES = ("steerable", "lattice")


class GroupConv2d(nn.Module):
    """Equivariant convolution from one type of feature fields to another.

    `forward` maps (N, input.num_channels, H, W) to (N, output.num_channels, H', W') and commutes
    with `act_on_fields`. Kernels are square, of any side. `basis`: `steerable`, the default, limits
    kernels to the smooth functions of the library that the paper's models use (3x3: 6 of 9 numbers
    for each pair of fibre values; see `steerable_basis`); `lattice` allows all equivariant kernels.
    `weight` is (output.num_fields, input.num_fields, num_weights), initialised so that variances
    are preserved. A bias is shared over the fibre and initialised to 0; `sign` and `standard`
    fields have none. For inputs of several types add the outputs of several layers, one of which
    has a bias.

    `form`: `plain` is one ordinary convolution, `fourier` (between regular fields) one in the
    group's Fourier basis with a fraction of the products; `auto` takes the faster one for the
    number of fields. They differ by rounding only.

    ValueError for types of different groups, an unknown basis, types with no nonzero kernel between
    them and, in `forward`, sides on which the stride breaks equivariance (see
    `pipeline.equivariant.fields`; `require_exact=False` allows them).
    """

    rows: torch.Tensor | None
    orbits: torch.Tensor
    signs: torch.Tensor | None
    analysis: torch.Tensor
    synthesis: torch.Tensor
    factors: torch.Tensor

    def __init__(
        self,
        input: FieldType,
        output: FieldType,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        bias: bool = True,
        basis: Basis = "steerable",
        require_exact: bool = True,
        form: Form = "auto",
    ) -> None:
        super().__init__()
        if input.group != output.group:
            raise ValueError(f"a convolution cannot lead from {input.group} to {output.group}")
        if kernel_size < 1:
            raise ValueError(f"a kernel cannot have the side {kernel_size}")
        if basis not in BASES:
            raise ValueError(f"unknown basis {basis!r}; known: {', '.join(BASES)}")
        self.input, self.output, self.basis = input, output, basis
        self.kernel_size, self.stride = kernel_size, stride
        self.padding, self.dilation, self.require_exact = padding, dilation, require_exact
        self.form = check_form(form, input.representation, output.representation)
        if self.form == "auto":
            is_fast = is_conv_faster(input.group, input.num_fields, output.num_fields)
            self.form = "fourier" if is_fast else "plain"
        between = (input.group, input.representation, output.representation, kernel_size)
        if basis == "lattice":
            kernels, rows = lattice_basis(*between), None
        else:
            kernels = steerable_basis(*between, dilation)
            rows = kernels.rows
        self.register_buffer("rows", rows, persistent=False)
        orbits = kernel_orbits(*between)
        signs = None if (orbits.sign == 1).all() else orbits.sign
        self.register_buffer("orbits", orbits.orbit, persistent=False)
        self.register_buffer("signs", signs, persistent=False)
        if self.form == "fourier":
            tables = fourier_tables(input.group, kernel_size, basis, dilation)
            self._blocks, self._num_filters = tables.blocks, tables.num_filters
            for name in ("analysis", "synthesis", "factors"):
                self.register_buffer(name, getattr(tables, name), persistent=False)
        spread = kernels.spread.to(torch.float32) / input.num_fields**0.5
        self.weight = nn.Parameter(
            torch.randn(output.num_fields, input.num_fields, len(spread)) * spread
        )
        has_bias = bias and not output.has_signs
        self.bias = nn.Parameter(torch.zeros(output.num_fields)) if has_bias else None

    def kernel(self) -> torch.Tensor:
        """The kernel of the plain convolution, (output channels, input channels, k, k)."""
        numbers: torch.Tensor = self.weight
        if self.rows is not None:
            numbers = numbers @ self.rows.to(numbers.dtype)
        kernel = numbers.index_select(-1, self.orbits.flatten())
        kernel = kernel.unflatten(-1, self.orbits.shape)
        if self.signs is not None:
            kernel = kernel * self.signs
        kernel = kernel.permute(0, 2, 1, 3, 4, 5)
        flat: torch.Tensor = kernel.flatten(0, 1).flatten(1, 2)
        return flat

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.require_exact:
            for size in x.shape[-2:]:
                check_size("convolution", size, *self._window())
        window = (self.stride, self.padding, self.dilation)
        bias: torch.Tensor | None = self.bias
        if bias is not None:
            bias = bias[:, None].expand(-1, self.output.fibre_size).reshape(-1)
        if self.form == "plain":
            return nn.functional.conv2d(x, self.kernel(), bias, *window)
        tables = FourierTables(
            self._blocks, self._num_filters, self.analysis, self.synthesis, self.factors
        )
        y = fourier_conv2d(x, self.weight, tables, *window)
        return y if bias is None else y + bias[:, None, None]

    def _window(self) -> tuple[int, int, int, int]:
        return self.kernel_size, self.stride, self.padding, self.dilation

    def extra_repr(self) -> str:
        return f"{self.input}, {self.output}, {self.kernel_size}, basis={self.basis!r}"
