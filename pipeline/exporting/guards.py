"""Checks that go into exported programs: nobody who calls one has this package to ask.

A program that is given an action that is none ends with a RuntimeError that says so, and so it
does for a batch of nothing. On a GPU, where such a check cannot wait, the error comes from the
next call that does.
"""

from collections.abc import Sequence

import torch

from pipeline.groups import Group
from pipeline.groups.interface import ActionComponent

COUNTED = "number"
"""The unit of components that say which of several things is meant."""
ELEMENT_TOLERANCE = 0.02
"""As far as numbers of an action vector may lie from those of an element."""


def check_batch(values: torch.Tensor) -> None:
    """Fail for a batch of nothing: the arithmetic behind is not made for it."""
    each = torch.ones(values.shape[0], dtype=torch.bool, device=values.device)
    torch._assert_async(each.any(), "a batch must hold at least one record")


def check_element(group: Group, action: torch.Tensor) -> None:
    """Fail for action vectors (B, A) that no element of the group has."""
    check_range(group.action_components, action)
    written = group.encode(group.decode(action))
    # A quaternion and its negative are one rotation.
    distance = torch.minimum((written - action).abs(), (written + action).abs())
    torch._assert_async(
        (distance <= ELEMENT_TOLERANCE).all(),
        f"action: a vector is no element of the group {group.name}; see group in signature.json",
    )


def check_range(components: Sequence[ActionComponent], action: torch.Tensor) -> None:
    """Fail for action vectors (B, A) with a number beyond its component's range, or NaN.

    So it does for a part of one where a component counts things.
    """
    low, high = (
        torch.tensor([getattr(component, end) for component in components], dtype=action.dtype)
        for end in ("minimum", "maximum")
    )
    ranges = ", ".join(f"{each.name} {each.minimum:g} to {each.maximum:g}" for each in components)
    is_inside = (action >= low - ELEMENT_TOLERANCE) & (action <= high + ELEMENT_TOLERANCE)
    torch._assert_async(is_inside.all(), f"action: a number is out of its range ({ranges})")
    counted = torch.tensor([component.unit == COUNTED for component in components])
    is_whole = (action - action.round()).abs() <= ELEMENT_TOLERANCE
    names = ", ".join(each.name for each in components if each.unit == COUNTED)
    if names:
        torch._assert_async((is_whole | ~counted).all(), f"action: not whole numbers: {names}")
