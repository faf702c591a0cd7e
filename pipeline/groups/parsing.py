"""Reading the text by which configurations and manifests name a group."""

from typing import NamedTuple

from pipeline.config.user_text import parse_integer, parse_number

PLAIN = ("c4", "d4", "octahedral", "so2", "so3")
WRAPPED = ("wrap1d", "wrap2d", "wrap3d", "c4+wrap", "d4+wrap", "octahedral+wrap")
SHIFTED = ("so2+shift", "so3+shift")
ALLOWED = ", ".join(
    (
        *PLAIN,
        *(f"{family}:PERIOD:STEP" for family in WRAPPED),
        *(f"{family}:PERIOD:MAX" for family in SHIFTED),
    )
)


class GroupSpec(NamedTuple):
    """A family of groups and, in one with shifts, its numbers in pixels.

    `size` is the step of cyclic shifts or the greatest of real ones.
    """

    family: str
    period: int = 0
    size: float = 0.0

    @property
    def name(self) -> str:
        """The text of this specification, each number in its shortest form."""
        if not self.period:
            return self.family
        size = int(self.size) if self.size == int(self.size) else self.size
        return f"{self.family}:{self.period}:{size}"


def parse_group(text: str) -> GroupSpec:
    """Read a specification; ValueError with what is allowed if there is no such group."""
    family, *numbers = text.split(":")
    if family in PLAIN and not numbers:
        return GroupSpec(family)
    if family in WRAPPED + SHIFTED:
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
    raise ValueError(f"unknown group {text!r}; known groups: {ALLOWED}")


def _whole(text: str, what: str, digits: str) -> int:
    number = parse_integer(digits)
    if number is None or number < 1:
        raise ValueError(f"group {text!r}: {what} {digits!r} is no whole number of pixels above 0")
    return number


def _greatest_shift(text: str, digits: str, period: int) -> float:
    shift = parse_number(digits)
    if shift is None or not 0 < shift <= period:
        raise ValueError(
            f"group {text!r}: MAX {digits!r} is no number of pixels above 0 and up to "
            f"PERIOD {period}"
        )
    return shift
