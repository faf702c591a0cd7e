"""Convolutions between fields of fibres over the plane."""

import torch
from torch import nn

from pipeline.world_models.fields.tables import kernel_basis, order


class FieldConvolution(nn.Module):
    """From trivial or regular fields to trivial or regular ones, commuting with the group.

    Trivial fields are (B, c, H, W), regular ones (B, c, G, H, W). Exact for stride 1, and for
    stride 2 with padding on maps of odd side. `weight` (out, in, P) are coefficients of the
    kernels of `tables.kernel_basis`; initialised so that ReLU keeps the variance.
    """

    basis: torch.Tensor

    def __init__(
        self,
        group: str,
        num_in: int,
        num_out: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        from_trivial: bool = False,
        to_trivial: bool = False,
    ) -> None:
        super().__init__()
        size = order(group)
        self._in, self._out = 1 if from_trivial else size, 1 if to_trivial else size
        self._stride, self._padding, self._dilation = stride, padding, dilation
        self._from_trivial, self._to_trivial = from_trivial, to_trivial
        basis = kernel_basis(group, kernel, self._in, self._out)
        self.register_buffer("basis", basis, persistent=False)
        std = (2 / (num_in * len(basis))) ** 0.5
        self.weight = nn.Parameter(std * torch.randn(num_out, num_in, len(basis)))
        self.bias = nn.Parameter(torch.zeros(num_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self._from_trivial:
            x = x.flatten(1, 2)
        num_out, num_in, num_weights = self.weight.shape
        _, size_out, size_in, kernel, _ = self.basis.shape
        kernels = self.weight.view(-1, num_weights) @ self.basis.view(num_weights, -1)
        kernels = kernels.view(num_out, num_in, size_out, size_in, kernel, kernel)
        kernels = kernels.transpose(1, 2).reshape(
            num_out * size_out, num_in * size_in, kernel, kernel
        )
        bias = self.bias.repeat_interleave(size_out)
        y = nn.functional.conv2d(x, kernels, bias, self._stride, self._padding, self._dilation)
        return y if self._to_trivial else y.unflatten(1, (num_out, size_out))
