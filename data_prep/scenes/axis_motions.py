"""Exact groups by views of arrays: how an element permutes and reverses axes.

A copy through such a view takes a tenth of the time of gathering value by value, and no table.
"""

import itertools
from functools import lru_cache

import numpy as np
import torch

from pipeline.groups import Group, make_group

PROBE_SIDE = 3

Motion = tuple[tuple[int, ...], tuple[int, ...]]
"""The axis that each axis was before, and the axes that are then reversed."""


@lru_cache(maxsize=16)
def axis_motions(group: str, num_axes: int) -> tuple[Motion, ...] | None:
    """The motion of each element of a group on arrays of so many spatial axes, in their order.

    None for a group that moves values otherwise, or interpolates.
    """
    acting: Group = make_group(group)
    shape = (PROBE_SIDE,) * num_axes
    if not acting.is_exact or not _acts_on(acting, shape):
        return None
    elements = acting.elements()
    probe = torch.arange(PROBE_SIDE**num_axes).view(1, 1, *shape)
    moved = acting.act_on_image(probe.expand(len(elements), 1, *shape), elements).numpy()
    known = {moved_by(probe.numpy(), motion).tobytes(): motion for motion in _all_motions(num_axes)}
    found = [known.get(each.tobytes()) for each in moved]
    return None if None in found else tuple(motion for motion in found if motion is not None)


def moved_by(images: np.ndarray, motion: Motion) -> np.ndarray:
    """Images (N, C, ...) moved by one motion: a view of them."""
    order, reversed_axes = motion
    turned = images.transpose(0, 1, *(2 + axis for axis in order))
    return np.flip(turned, tuple(2 + axis for axis in reversed_axes)) if reversed_axes else turned


def _all_motions(num_axes: int) -> list[Motion]:
    axes = range(num_axes)
    chosen = [
        reversed_axes
        for num in range(num_axes + 1)
        for reversed_axes in itertools.combinations(axes, num)
    ]
    return list(itertools.product(itertools.permutations(axes), chosen))


def _acts_on(group: Group, shape: tuple[int, ...]) -> bool:
    try:
        group.check_spatial_shape(shape)
    except ValueError:
        return False
    return True
