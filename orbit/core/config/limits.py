"""Limits of values as annotations: `epochs: Count = 1` instead of a check in `__post_init__`.

A class with these annotations has the decorator `limited` below `dataclass`, so that the limits are
checked however it is made, from a file or in code.
"""

import functools
import math
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypeVar

T = TypeVar("T")


class Limit(NamedTuple):
    """A condition on a number or a list, and the end of the message for a value that breaks it.

    Floats must also be finite. Null and texts (`auto`) have no limit.
    """

    words: str
    is_met: Callable[[Any], bool]

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError naming the value, unless the condition holds."""
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name}={value} must be finite")
        if not self.is_met(value):
            shown = list(value) if isinstance(value, tuple) else value
            raise ValueError(f"{name}={shown} {self.words}")


def at_least(least: int) -> Limit:
    """A limit: at least `least`."""
    return Limit(f"must be at least {least}", lambda value: value >= least)


def between(least: float, most: float) -> Limit:
    """A limit: from `least` to `most`, both allowed."""
    return Limit(f"must lie between {least} and {most}", lambda value: least <= value <= most)


POSITIVE = Limit("must be positive", lambda value: value > 0)
NOT_NEGATIVE = Limit("must not be negative", lambda value: value >= 0)

Count = Annotated[int, at_least(1)]
LargeCount = Annotated[
    int, Limit("must be at least 1, and below 2^32", lambda value: 1 <= value < 2**32)
]
PositiveInt = Annotated[int, POSITIVE]
Positive = Annotated[float, POSITIVE]
NotNegativeInt = Annotated[int, NOT_NEGATIVE]
NotNegative = Annotated[float, NOT_NEGATIVE]
Share = Annotated[float, between(0, 1)]
InnerShare = Annotated[float, Limit("must lie between 0 and 1", lambda value: 0 < value < 1)]
Percentiles = Annotated[
    tuple[float, float],
    Limit("must ascend within 0 to 100", lambda pair: 0 <= pair[0] < pair[1] <= 100),
]


def limited(cls: type[T]) -> type[T]:
    """The class with a `__post_init__` that first checks the limits of its annotations.

    It raises a one-line ValueError that names the field.
    """
    own = getattr(cls, "__post_init__", None)

    def __post_init__(self: Any) -> None:
        kind: Any = type(self)
        for name, hint in _limited_fields(kind):
            _check(hint, name, getattr(self, name))
        if own is not None:
            own(self)

    cls.__post_init__ = __post_init__  # type: ignore[attr-defined]
    return cls


@functools.lru_cache(maxsize=256)
def _limited_fields(cls: Any) -> list[tuple[str, Any]]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return [(name, hint) for name, hint in hints.items() if has_limits(hint)]


def has_limits(hint: Any) -> bool:
    """Whether an annotation, or one inside it, has a limit."""
    if typing.get_origin(hint) is Annotated and any(
        isinstance(mark, Limit) for mark in hint.__metadata__
    ):
        return True
    return any(has_limits(part) for part in typing.get_args(hint))


def _check(hint: Any, name: str, value: Any) -> None:
    if value is None or isinstance(value, str):
        return
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        for mark in hint.__metadata__:
            if isinstance(mark, Limit):
                mark.check(name, value)
    elif origin in (typing.Union, types.UnionType):
        for part in parts:
            _check(part, name, value)
    elif origin is tuple:
        members = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        for member, item in zip(members, value, strict=True):
            _check(member, name, item)
