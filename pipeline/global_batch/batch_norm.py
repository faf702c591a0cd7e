"""Batch norm whose statistics are those of the global batch, at any number of ranks.

torch's SyncBatchNorm does this for GPUs only. On one rank this is torch's own batch
norm. On several, ranks exchange mean and variance of each channel on the way forward
and two sums of each channel on the way back; all have equally many values. The gradients
of weight and bias are those of a rank's own rows, which data parallelism then averages
like all others.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from pipeline.compiling import not_compiled
from pipeline.global_batch.gather import num_ranks, stack_of_ranks, sum_over_ranks

_is_left_alone = False


@contextmanager
def statistics_left_alone() -> Iterator[None]:
    """Context in which batch norms compute as they do in training, and count nothing.

    For what is computed a second time: the backward pass of checkpointed activations.
    """
    global _is_left_alone
    before, _is_left_alone = _is_left_alone, True
    try:
        yield
    finally:
        _is_left_alone = before


class GlobalBatchNorm(nn.Module):
    """Batch norm of (B, C) or (B, C, ...) with any number of spatial axes.

    Parameters, buffers and their names are those of torch's batch norm. Statistics are
    float32 whatever the input; the output has the input's type.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x with zero mean and unit variance in each channel, scaled and shifted."""
        running = (self.running_mean, self.running_var)
        if self.training and _is_left_alone:
            # torch writes into what it is given.
            running = (self.running_mean.clone(), self.running_var.clone())
        elif self.training:
            self.num_batches_tracked.add_(1)
        if not self.training or num_ranks() == 1:
            return functional.batch_norm(
                x,
                *running,
                self.weight,
                self.bias,
                self.training,
                self.momentum,
                self.eps,
            )
        output: torch.Tensor = self._forward_on_ranks(x)
        return output

    @not_compiled
    def _forward_on_ranks(self, x: torch.Tensor) -> Any:
        output, mean, variance = _GlobalBatchNorm.apply(x, self.weight, self.bias, self.eps)
        if _is_left_alone:
            return output
        num_values = num_ranks() * x.numel() // x.shape[1]
        with torch.no_grad():
            unbiased = variance * (num_values / (num_values - 1))
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
        return output

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


class _GlobalBatchNorm(torch.autograd.Function):
    """Returns the output and the global batch's mean and (biased) variance, both (C,)."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        variance, mean = torch.var_mean(x.float(), _axes(x), correction=0)
        variances, means = stack_of_ranks(torch.stack([variance, mean])).unbind(1)
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        output = functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt())
        ctx.mark_non_differentiable(mean, variance)
        return output, mean, variance

    @staticmethod
    def backward(
        ctx: Any, *gradients: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        x, weight, mean, inverse_std = ctx.saved_tensors
        gradient = gradients[0].float()
        shape = (1, -1, *(1,) * (x.ndim - 2))
        normalised = (x.float() - mean.view(shape)) * inverse_std.view(shape)
        bias_gradient = gradient.sum(_axes(x))
        weight_gradient = (gradient * normalised).sum(_axes(x))
        num_values = num_ranks() * x.numel() // x.shape[1]
        sums = sum_over_ranks(torch.stack([bias_gradient, weight_gradient])) / num_values
        shift, slope = (row.view(shape) for row in sums)
        scale = (weight * inverse_std).view(shape)
        x_gradient = scale * (gradient - shift - normalised * slope)
        return x_gradient.to(x.dtype), weight_gradient, bias_gradient, None


def _axes(x: torch.Tensor) -> list[int]:
    """All axes but the channels'."""
    return [0, *range(2, x.ndim)]
