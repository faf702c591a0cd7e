"""Pooling that commutes with quarter turns and mirrors, over the plane and over fibres."""

from typing import Literal

import torch
from torch import nn

from pipeline.equivariant.sizes import check_size


class FieldMaxPool2d(nn.Module):
    """The maximum of each channel in windows of maps (N, C, H, W).

    2x2 windows of stride 2 need even sides; 3x3 windows of stride 2 with padding 1 need odd
    ones. ValueError in `forward` for other sides unless `require_exact` is false.
    """

    def __init__(
        self,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        require_exact: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride or kernel_size
        self.padding, self.require_exact = padding, require_exact

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._check(x)
        return nn.functional.max_pool2d(x, self.kernel_size, self.stride, self.padding)

    def _check(self, x: torch.Tensor) -> None:
        if self.require_exact:
            for size in x.shape[-2:]:
                check_size("pooling", size, self.kernel_size, self.stride, self.padding)


class FieldAvgPool2d(FieldMaxPool2d):
    """The mean of each channel in windows; places outside the map do not count."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._check(x)
        return nn.functional.avg_pool2d(
            x, self.kernel_size, self.stride, self.padding, count_include_pad=False
        )


def pool_fibre(x: torch.Tensor, how: Literal["max", "mean"] = "max", dim: int = -2) -> torch.Tensor:
    """Invariant values: the maximum or mean over the fibre along axis `dim`."""
    return x.amax(dim) if how == "max" else x.mean(dim)
