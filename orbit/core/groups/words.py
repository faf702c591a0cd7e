"""Parsing of elements on a command line, the inverse of `Group.names`, and of group names."""

import math
import re
from typing import NamedTuple

import torch

from orbit.core import plugins
from orbit.core.groups import (
    cyclic,
    lattice,
    planar_rotations,
    quaternions,
    rigid_motions,
    space_rotations,
    torus,
    turns,
)
from orbit.core.groups.interface import Group
from orbit.core.groups.lattice import LatticeGroup
from orbit.core.groups.planar_rotations import SO2
from orbit.core.groups.rigid_motions import RigidMotions
from orbit.core.groups.space_rotations import SO3
from orbit.core.groups.torus import Torus
from orbit.core.user_text import parse_integer, parse_number

MAX_LISTED = 64
"""`all` is allowed for groups with at most this number of elements."""
AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
SHIFT = re.compile(r"^(?:(?P<turn>.*?)\s*\+\s*)?\((?P<shift>[^()]*)\)$")


def read_elements(group: Group, text: str) -> tuple[list[str], torch.Tensor]:
    """The elements that a text names: one, a list [a,b], `all` of a finite group, or `examples`.

    Returns a name for each, as it was written or as the group gives it, and the elements. Commas
    within brackets do not separate elements: [(4, 0),(0, 4)]. Raises ValueError with what the group
    accepts.
    """
    text = text.strip()
    if text == "all":
        if group.num_elements is None or group.num_elements > MAX_LISTED:
            raise ValueError(f"element=all: {group.name} has {_how_many(group)}; {_advice(group)}")
        return group.names(group.elements()), group.elements()
    if text == "examples":
        return group.names(group.examples()), group.examples()
    is_list = text.startswith("[") and text.endswith("]")
    words = split_list(text[1:-1]) if is_list else [text]
    if not words or not all(words):
        raise ValueError(f"element={text} does not name an element; {_advice(group)}")
    return words, torch.cat([read_element(group, word) for word in words])


def read_element(group: Group, text: str) -> torch.Tensor:
    """One element, written as in `Group.names`, (1, ...).

    An angle may be any number of degrees, an axis of any length: "-30", "400", "57 [1 2 2]", "30 +
    (2.5, -1)". A shift may be given alone. Raises ValueError with what the group accepts.
    """
    try:
        element = _read(group, " ".join(text.split()))
    except ValueError as error:
        reason = f" ({error})" if str(error) else ""
        raise ValueError(
            f"element={text} is not understood for {group.name}{reason}; {_advice(group)}"
        ) from None
    return element


def split_list(text: str) -> list[str]:
    """The parts between commas outside all brackets, without surrounding spaces."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _read(group: Group, text: str) -> torch.Tensor:
    match group:
        case SO2():
            return torch.tensor([math.radians(_number(text))])
        case SO3():
            return _space_rotation(text)
        case Torus():
            turn, angles = _split_shift(text, 2)
            if turn != "0":
                raise ValueError("two angles in degrees are missing")
            return torch.tensor([angles]).deg2rad()
        case RigidMotions():
            turn, shift = _split_shift(text, group.num_axes)
            rotation = _read(group.rotations, turn)
            if any(abs(value) > group.max_shift for value in shift):
                raise ValueError(f"it shifts by at most {group.max_shift:g} pixels an axis")
            vector = torch.cat((group.rotations.encode(rotation), torch.tensor([shift])), 1)
            return group.decode(vector)
        case LatticeGroup(period=int(), step=int(step)):
            turn, shift = _split_shift(text, group.num_axes)
            if any(value % step for value in shift):
                raise ValueError(f"it shifts by multiples of {step} pixels")
            place = _place(group.point.element_names, turn)
            vector = torch.cat((group.point.codes[place], torch.tensor(shift)))
            return group.decode(vector[None])
        case _ if group.num_elements is not None:
            elements = group.elements()
            return elements[_place(tuple(group.names(elements)), text)][None]
        case _:
            raise ValueError("its elements cannot be written")


def _place(names: tuple[str, ...], text: str) -> int:
    """The position of a name; degrees may exceed a full turn."""
    first, _, rest = text.partition(" ")
    try:
        degrees = _number(first) % 360
    except ValueError:
        degrees = -1.0
    for name in (text, f"{degrees:g} {rest}".strip()):
        if name in names:
            return names.index(name)
    raise ValueError


def _space_rotation(text: str) -> torch.Tensor:
    first, _, rest = text.partition(" ")
    degrees = _number(first)
    if not rest:
        if degrees != 0:
            raise ValueError("the axis is missing")
        return torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    sign = -1.0 if rest.startswith("-") else 1.0
    if rest.removeprefix("-") in AXES:
        axis = [sign * value for value in AXES[rest.removeprefix("-")]]
    elif rest.startswith("[") and rest.endswith("]"):
        axis = [_number(part) for part in rest[1:-1].replace(",", " ").split()]
    else:
        raise ValueError(f"{rest} is not an axis")
    if len(axis) != 3 or not any(axis):
        raise ValueError("an axis has three numbers, not all 0")
    return quaternions.from_axis(axis, degrees)[None].to(torch.float32)


def _split_shift(text: str, num_axes: int) -> tuple[str, list[float]]:
    """The text of a rotation, "0" if none is given, and the shift, zeros if none is given."""
    found = SHIFT.match(text)
    if found is None:
        return text, [0.0] * num_axes
    shift = [_number(part.strip()) for part in found["shift"].split(",")]
    if len(shift) != num_axes:
        raise ValueError(f"a shift here has {num_axes} numbers")
    return found["turn"] or "0", shift


def _number(text: str) -> float:
    value = parse_number(text)
    if value is None:
        raise ValueError(f"{text!r} is not a number")
    return value


def _how_many(group: Group) -> str:
    return (
        "infinitely many elements"
        if group.num_elements is None
        else f"{group.num_elements} elements"
    )


def _advice(group: Group) -> str:
    names = group.names(group.examples())
    if group.num_elements == len(names):
        return f"known: {', '.join(names)}, all"
    return f"write them like: {', '.join(names)}; or examples"


PLAIN = plugins.by_name(
    *(cyclic.GROUP, lattice.D4, lattice.OCTAHEDRAL),
    *(planar_rotations.GROUP, space_rotations.GROUP, torus.TORUS, torus.TURN_HUE),
)
WRAPPED = plugins.by_name(*lattice.WRAPPED)
SHIFTED = plugins.by_name(*rigid_motions.SHIFTED)
COUNTED = plugins.by_name(turns.GROUP)
FAMILIES = {**PLAIN, **WRAPPED, **SHIFTED, **COUNTED}
"""Orbit's groups by the first part of their names; all but the first are followed by numbers."""
ALLOWED = ", ".join(
    (
        *PLAIN,
        *(f"{family}:NUM" for family in COUNTED),
        *(f"{family}:PERIOD:STEP" for family in WRAPPED),
        *(f"{family}:PERIOD:MAX" for family in SHIFTED),
    )
)


class GroupSpec(NamedTuple):
    """A family of groups and its numbers: in one with shifts in pixels, else of its elements.

    `size` is the step of cyclic shifts or the greatest of real ones.
    """

    family: str
    period: int = 0
    size: float = 0.0
    num: int = 0

    @property
    def name(self) -> str:
        """The text of this specification, each number in its shortest form."""
        if self.num:
            return f"{self.family}:{self.num}"
        if not self.period:
            return self.family
        size = int(self.size) if self.size == int(self.size) else self.size
        return f"{self.family}:{self.period}:{size}"


def parse_group(text: str) -> GroupSpec:
    """Read a specification; ValueError with what is allowed if there is no such group."""
    family, *numbers = text.split(":")
    if family in PLAIN and not numbers:
        return GroupSpec(family)
    if family in COUNTED:
        number = parse_integer(numbers[0]) if len(numbers) == 1 else None
        if number is None or number < 1:
            raise ValueError(f"group {text!r} has to give the number of its elements: {family}:NUM")
        return GroupSpec(family, num=number)
    if family in FAMILIES and family not in PLAIN:
        size_name = "STEP" if family in WRAPPED else "MAX"
        if len(numbers) != 2:
            raise ValueError(
                f"group {text!r} has to give its frames and its shifts in pixels: "
                f"{family}:PERIOD:{size_name}"
            )
        period = _whole(text, "PERIOD", numbers[0])
        if family in SHIFTED:
            return GroupSpec(family, period, _greatest_shift(text, numbers[1], period))
        step = _whole(text, "STEP", numbers[1])
        if step >= period or period % step:
            raise ValueError(
                f"group {text!r}: STEP {step} does not divide PERIOD {period} into equal "
                "parts, two at least"
            )
        return GroupSpec(family, period, step)
    offered = "".join(f", {name}" for name in sorted(plugins.installed("groups")))
    raise ValueError(f"unknown group {text!r}; known groups: {ALLOWED}{offered}")


def _whole(text: str, what: str, digits: str) -> int:
    number = parse_integer(digits)
    if number is None or number < 1:
        raise ValueError(
            f"group {text!r}: {what} {digits!r} is not a whole number of pixels above 0"
        )
    return number


def _greatest_shift(text: str, digits: str, period: int) -> float:
    shift = parse_number(digits)
    if shift is None or not 0 < shift <= period:
        raise ValueError(
            f"group {text!r}: MAX {digits!r} is not a number of pixels above 0 and up to "
            f"PERIOD {period}"
        )
    return shift
