"""Activation checkpointing: activations are computed again in the backward pass, not kept.

A sequence of layers is cut into segments, and only their inputs are kept. Cuts come after a layer
that halves the resolution, and before one that doubles it, so that the inputs are small.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pipeline.equivariant import GroupConv2d
from pipeline.global_batch import statistics_left_alone
from pipeline.models.networks import ResidualBlock

DOWN = (nn.Conv2d, nn.Conv3d, GroupConv2d)
UP = (nn.ConvTranspose2d, nn.ConvTranspose3d)


class CheckpointedSequential(nn.Sequential):
    """`nn.Sequential` with the names, outputs and gradients of the plain one, bit for bit.

    It costs one more forward pass per step. Batch norms update running statistics only in the first
    of the two.
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self._segments = tuple(segments(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return self._run(x, 0, len(self))
        if torch.compiler.is_compiling():
            # The compiler recomputes from its own graph, which does not change statistics.
            for first, end in self._segments:
                x = checkpoint(self._run, x, first, end, use_reentrant=False)
            return x
        for first, end in self._segments:
            x = checkpoint(
                self._run,
                x,
                first,
                end,
                use_reentrant=False,
                preserve_rng_state=False,  # no random numbers are drawn here
                context_fn=self._contexts,
            )
        return x

    def _run(self, x: torch.Tensor, first: int, end: int) -> torch.Tensor:
        for number in range(first, end):
            x = self[number](x)
        return x

    @staticmethod
    def _contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """The contexts of the first and of the second pass."""
        return nullcontext(), statistics_left_alone()


def checkpoint_activations(model: nn.Module) -> None:
    """Make each outermost sequence of convolutions of a model checkpoint its activations."""
    for name, child in model.named_children():
        if isinstance(child, nn.Sequential) and any(map(_is_convolution, child)):
            setattr(model, name, CheckpointedSequential(*child))
        else:
            checkpoint_activations(child)


def segments(layers: Sequence[nn.Module]) -> Iterator[tuple[int, int]]:
    """Segments of a sequence with one or two convolutions each: (first, end) of each.

    A convolution starts a new segment, except one that halves the output of the previous one, and
    one that follows a layer which doubles.
    """
    first, has_convolution, is_halved, is_doubled = 0, False, False, False
    for number, layer in enumerate(layers):
        if not _is_convolution(layer):
            continue
        halves, doubles = _halves(layer), isinstance(layer, UP)
        joins = not doubles and not is_halved and (halves or is_doubled)
        if has_convolution and not joins:
            yield first, number
            first, is_halved, is_doubled = number, False, False
        has_convolution = True
        is_halved, is_doubled = is_halved or halves, doubles
    if layers:
        yield first, len(layers)


def _is_convolution(layer: nn.Module) -> bool:
    return isinstance(layer, (*DOWN, *UP, ResidualBlock))


def _halves(layer: nn.Module) -> bool:
    stride = getattr(layer, "stride", 1) if isinstance(layer, DOWN) else 1
    return max(stride) > 1 if isinstance(stride, tuple) else stride > 1
