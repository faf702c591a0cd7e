"""The target of a source, as preparation stores it and as a training step computes it.

Both call the same function on frames as they are stored, so that a pair made on the device equals
the pair that would have been stored (for a group that interpolates, up to rounding of the device).
If a group only moves values, preparation may copy views of arrays instead, with the same bits.
"""

import torch

from orbit.core.groups import make_group
from orbit.core.groups.interface import Group

WHITE, HALF = 255, 128
"""Interpolated binary shapes are thresholded at one half."""


def make_targets(
    group: Group, sources: torch.Tensor, action: torch.Tensor, is_binary: bool
) -> torch.Tensor:
    """Frames (N, C, ...) under the elements with these action vectors (N, A), of the same dtype.

    With `is_binary`, frames hold only 0 and 255, before and after.
    """
    if group.is_exact:
        return group.act_by_vector(sources, action)
    if torch.compiler.is_compiling():
        made: torch.Tensor = _interpolated(sources, action, group.name, is_binary)
        return made
    moved = group.act_by_vector(sources, action)
    return (moved >= HALF).to(sources.dtype) * WHITE if is_binary else moved


@torch.library.custom_op("orbit::interpolated_targets", mutates_args=())
def _interpolated(
    sources: torch.Tensor, action: torch.Tensor, group: str, is_binary: bool
) -> torch.Tensor:
    """`make_targets` as one operation of a compiled step.

    The compiler would use another formula for interpolation, which rounds positions differently.
    """
    return make_targets(make_group(group), sources, action, is_binary)


@_interpolated.register_fake
def _interpolated_shape(
    sources: torch.Tensor, action: torch.Tensor, group: str, is_binary: bool
) -> torch.Tensor:
    return torch.empty_like(sources)
