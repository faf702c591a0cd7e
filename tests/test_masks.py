"""Protects what counts as a mask: 0 and one positive value, whichever it is."""

import numpy as np
import pytest

from orbit.core.reading.volumes import as_binary

SHAPE = np.arange(27).reshape(3, 3, 3) % 2 == 1


@pytest.mark.parametrize(
    "values",
    [SHAPE, *(SHAPE * np.uint8(n) for n in (1, 7, 255)), SHAPE * np.int16(300), SHAPE * 0.5],
)
def test_the_value_inside_makes_no_difference(values: np.ndarray) -> None:
    found = as_binary(values)
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, SHAPE)


def test_a_mask_may_be_empty_or_full() -> None:
    assert not as_binary(np.zeros((2, 2), np.uint8)).any()
    assert as_binary(np.full((2, 2), 255, np.uint8)).all()


@pytest.mark.parametrize(
    "values",
    [[0, 1, 2], [0, 1, 255], [0, -1], [-1, 1], [0.0, np.nan], [1.0, np.nan], [0.0, np.inf]],
)
def test_other_values_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"is not a mask: besides 0 it holds values from .* to "):
        as_binary(np.array(values))
