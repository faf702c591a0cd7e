"""Plain layers that the networks of several domains use."""

from collections.abc import Sequence

import torch
from torch import nn

from pipeline.global_batch import GlobalBatchNorm


def convolution(
    num_in: int, num_out: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> nn.Conv2d:
    """A convolution with Xavier-uniform weights and zero bias, as in the released code."""
    layer = nn.Conv2d(num_in, num_out, kernel, stride, padding, dilation)
    nn.init.xavier_uniform_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def normed(layer: nn.Conv2d) -> list[nn.Module]:
    """A convolution followed by batch norm and ReLU."""
    return [layer, GlobalBatchNorm(layer.out_channels), nn.ReLU()]


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers between sizes [in, hidden, hidden, out], with a layer norm on the second hidden
    layer."""
    num_in, first, second, num_out = sizes
    return nn.Sequential(
        nn.Linear(num_in, first),
        nn.ReLU(),
        nn.Linear(first, second),
        nn.LayerNorm(second),
        nn.ReLU(),
        nn.Linear(second, num_out),
    )


class OddMaxPool(nn.Module):
    """Max pooling by two that commutes with turns of maps of odd side.

    Windows of 3 with stride 2 map 2k + 1 cells to k + 1 (2x2 windows would leave out the last row);
    up to 3 cells become one.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        side = x.shape[-1]
        if side <= 3:
            return nn.functional.max_pool2d(x, side)
        if side % 2 == 0:
            raise ValueError(f"a map of side {side} cannot be pooled symmetrically: it is even")
        return nn.functional.max_pool2d(x, 3, stride=2, padding=1)
