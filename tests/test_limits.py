"""Protects limits of values: they hold however settings are made, and a mistake names its key."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docs_build.settings_pages import PAGES, dataclass_options
from orbit.core.config.limits import (
    Count,
    InnerShare,
    LargeCount,
    NotNegative,
    NotNegativeInt,
    Percentiles,
    Positive,
    PositiveInt,
    Share,
    at_least,
    between,
    has_limits,
    limited,
)
from orbit.core.config.schema import build
from pipeline.data.settings import BlocksConfig


@dataclass(frozen=True)
@limited
class Inner:
    count: Count = 1
    large: LargeCount | None = None
    positive_int: PositiveInt = 1
    positive: Positive | None = None
    not_negative: NotNegative = 0.0
    not_negative_int: NotNegativeInt = 0
    share: Share = 0.5
    inner_share: InnerShare = 0.5
    two: Annotated[int, at_least(2)] = 2
    side: Annotated[int, between(6, 512)] | None = None
    depth: Literal["auto"] | Count = "auto"
    sizes: tuple[Count, ...] = (1,)
    percentiles: Percentiles | None = None


@dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()


LIMITS: dict[str, tuple[Any, str]] = {
    "count": (lambda v: v >= 1, "must be at least 1"),
    "large": (lambda v: 1 <= v < 2**32, "must be at least 1, and below 2^32"),
    "positive_int": (lambda v: v > 0, "must be positive"),
    "positive": (lambda v: v > 0, "must be positive"),
    "not_negative": (lambda v: v >= 0, "must not be negative"),
    "not_negative_int": (lambda v: v >= 0, "must not be negative"),
    "share": (lambda v: 0 <= v <= 1, "must lie between 0 and 1"),
    "inner_share": (lambda v: 0 < v < 1, "must lie between 0 and 1"),
    "two": (lambda v: v >= 2, "must be at least 2"),
    "side": (lambda v: 6 <= v <= 512, "must lie between 6 and 512"),
    "depth": (lambda v: v >= 1, "must be at least 1"),
}
FLOATS = ("positive", "not_negative", "share", "inner_share")


@given(st.data(), st.sampled_from(sorted(LIMITS)))
def test_a_limit_holds_in_code_and_in_files_with_the_same_words(data: Any, key: str) -> None:
    is_met, words = LIMITS[key]
    near = st.integers(-2, 600) | st.integers(2**32 - 1, 2**32)
    reals = st.floats(-2, 2) | st.floats(allow_nan=False, allow_infinity=False)
    value = data.draw(reals if key in FLOATS else near)
    if is_met(value):
        assert getattr(Inner(**{key: value}), key) == value
        assert getattr(build(Outer, {"inner": {key: value}}).inner, key) == value
        return
    with pytest.raises(ValueError) as in_code:
        Inner(**{key: value})
    with pytest.raises(ValueError) as in_file:
        build(Outer, {"inner": {key: value}})
    assert str(in_code.value) == f"{key}={value} {words}"
    assert str(in_file.value) == f"inner.{in_code.value}"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("key", FLOATS)
def test_limited_numbers_are_finite(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{key}={value} must be finite$"):
        Inner(**{key: value})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sizes": [4, 0]}, "inner.sizes=0 must be at least 1"),
        ({"percentiles": [99, 1]}, "inner.percentiles=[99.0, 1.0] must ascend within 0 to 100"),
        ({"large": "many"}, "inner.large takes an integer or null, not many"),
        ({"depth": "deep"}, "inner.depth takes auto or an integer, not deep"),
        ({"count": True}, "inner.count takes an integer, not true"),
    ],
)
def test_mistakes_name_the_key(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        build(Outer, {"inner": values})
    assert str(error.value) == message


def test_a_check_of_the_class_itself_comes_after_the_limits() -> None:
    @dataclass(frozen=True)
    @limited
    class Steps:
        first: Count
        last: Count

        def __post_init__(self) -> None:
            if self.last < self.first:
                raise ValueError(f"last={self.last} comes before first={self.first}")

    assert Steps(1, 2) == Steps(first=1, last=2)
    with pytest.raises(ValueError, match="last=0 must be at least 1"):
        Steps(2, 0)
    with pytest.raises(ValueError, match="last=1 comes before first=2"):
        Steps(2, 1)


def schemas(schema: Any) -> Iterator[Any]:
    """A dataclass and those in its fields, at all depths."""
    for option in dataclass_options(schema):
        yield option
        for hint in get_type_hints(option).values():
            yield from schemas(hint)


def test_every_class_with_a_limit_checks_it() -> None:
    """A limit on a class without `limited` would be passed over."""
    known = {option for page in PAGES for option in schemas(page.schema)}
    with_limits = {
        option
        for option in known
        if any(map(has_limits, get_type_hints(option, include_extras=True).values()))
    }
    assert BlocksConfig in with_limits
    assert len(with_limits) > 40
    assert all(
        option.__post_init__.__qualname__.startswith(limited.__name__) for option in with_limits
    )
