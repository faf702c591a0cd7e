"""Convolutions on the plane that commute with quarter turns and mirrors."""

import torch
from torch import nn

from pipeline.equivariant.field_types import FieldType


class GroupConv2d(nn.Module):
    """Equivariant convolution from one type of feature fields to another.

    `forward` maps (N, input.num_channels, H, W) to (N, output.num_channels, H', W') and
    commutes with `act_on_fields`. Kernels are square with an odd side. `basis`: `steerable`,
    the default, keeps kernels to the smooth functions of Weiler and Cesa's library as the
    paper's models do (3x3: 6 of 9 numbers a pair of fibre values); `lattice` takes all
    kernels. A bias is shared over the fibre. For inputs of several types add the outputs of
    several layers, one of which has a bias. ValueError for types of different groups, an even
    kernel, and, in `forward`, sides on which the stride breaks equivariance
    (see `pipeline.equivariant.sizes`; `require_exact=False` lets them pass).
    """

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
        basis: str = "steerable",
        require_exact: bool = True,
    ) -> None:
        super().__init__()
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError
