"""Operations over the whole global batch, with the same results for any world size.

Collectives and draws work with gloo (CPU) and nccl (GPU), do nothing special on one rank, and give
every rank the same bits. torch.compile does not trace them: on several ranks a compiled model has a
graph break here. All ranks draw the numbers of the whole batch on the CPU and take their slice, so
that they do not depend on the world size or the device.

Batch norm: torch's SyncBatchNorm is for GPUs only. On one rank this is torch's batch norm. On
several, ranks exchange mean and variance of each channel in the forward pass and two sums of each
channel in the backward pass; all have the same number of values. The gradients of weight and bias
are those of a rank's own rows, which data parallelism then averages like all others.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional

from pipeline.arithmetic import not_compiled


def num_ranks() -> int:
    """Ranks of the process group, 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank_number() -> int:
    """This process's rank, 0 without a process group."""
    return dist.get_rank() if num_ranks() > 1 else 0


def stack_of_ranks(values: torch.Tensor) -> torch.Tensor:
    """A tensor of the same shape on every rank, stacked in rank order: (W, ...)."""
    values = values.contiguous()
    gathered = [torch.empty_like(values) for _ in range(num_ranks())]
    dist.all_gather(gathered, values)
    return torch.stack(gathered)


def sum_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over ranks, added in rank order."""
    return stack_of_ranks(values).sum(0)


@not_compiled
def normal_rows(
    seed: int, step: int, num_rows: int, num_columns: int, device: torch.device
) -> torch.Tensor:
    """Standard normal numbers (num_rows, num_columns) for this rank's rows of a step."""
    drawn = torch.randn(num_ranks() * num_rows, num_columns, generator=_generator(seed, step))
    return _own_rows(drawn, num_rows, device)


def normal_numbers(
    seed: int, step: int, num_rows: int, num_columns: int, device: torch.device
) -> torch.Tensor:
    """Standard normal numbers (num_rows, num_columns), the same on every rank."""
    drawn = torch.randn(num_rows, num_columns, generator=_generator(seed, step))
    return drawn.to(device, non_blocking=True)


@not_compiled
def uniform_rows(
    seed: int, step: int, num_rows: int, num_columns: int, device: torch.device
) -> torch.Tensor:
    """Uniform numbers in [0, 1), (num_rows, num_columns), for this rank's rows of a step."""
    drawn = torch.rand(num_ranks() * num_rows, num_columns, generator=_generator(seed, step))
    return _own_rows(drawn, num_rows, device)


def _generator(seed: int, step: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed + 0x9E3779B97F4A7C15 * step) % 2**63)


def _own_rows(drawn: torch.Tensor, num_rows: int, device: torch.device) -> torch.Tensor:
    first = rank_number() * num_rows
    return drawn[first : first + num_rows].to(device, non_blocking=True)


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """Rows (B, ...) of every rank, in rank order: (W * B, ...); every rank has the same number.

    Ranks hold contiguous slices of the global batch in rank order, so the result is the global
    batch in its own order. The gradient of a rank's rows is summed over all ranks. On one rank the
    rows themselves are returned.
    """
    if num_ranks() == 1:
        return rows
    gathered: torch.Tensor = _gather(rows)
    return gathered


@not_compiled
def _gather(rows: torch.Tensor) -> Any:
    return _GatherRows.apply(rows)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        ctx.num_rows = len(rows)
        return stack_of_ranks(rows).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        (gradient,) = gradients
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        first = dist.get_rank() * ctx.num_rows
        return total[first : first + ctx.num_rows]


_is_left_alone = False


@contextmanager
def statistics_left_alone() -> Iterator[None]:
    """Context in which batch norms compute as in training, but do not update running statistics.

    For values that are computed a second time, in the backward pass of checkpointed activations.
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
            # torch writes into its arguments.
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


__all__ = ["GlobalBatchNorm", "gather_rows", "statistics_left_alone"]
