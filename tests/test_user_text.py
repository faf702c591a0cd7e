"""Texts of users become numbers only where they are plainly written as such."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit.core.user_text import parse_integer, parse_number


@given(st.integers(-(10**30), 10**30))
def test_integers_read_back(number: int) -> None:
    assert parse_integer(str(number)) == number


@given(st.text(max_size=8))
def test_two_texts_are_never_one_integer(text: str) -> None:
    number = parse_integer(text)
    assert number is None or str(number) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_read_back(number: float) -> None:
    assert parse_number(repr(number)) == number


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "1_1", "nan", "inf", "-inf", "1e999", "0x1", "٣", "1,5"]
)
def test_what_python_would_take_is_no_number(text: str) -> None:
    assert parse_number(text) is None
    assert parse_integer(text) is None


@given(st.text(max_size=8))
def test_numbers_are_finite(text: str) -> None:
    number = parse_number(text)
    assert number is None or math.isfinite(number)
