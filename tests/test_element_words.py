"""Protects the words for group elements: what a group calls an element, it also understands."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orbit.core.groups import make_group
from orbit.core.groups.words import read_element, read_elements, split_list

EXACT = ("c4", "d4", "octahedral", "wrap2d:8:2", "d4+wrap:8:4", "octahedral+wrap:8:2", "wrap3d:8:4")
CONTINUOUS = ("so2", "so3", "so2+shift:28:3", "so3+shift:28:3")


@pytest.mark.parametrize("spec", EXACT)
def test_every_name_of_an_exact_group_is_its_element(spec: str) -> None:
    group = make_group(spec)
    elements = group.sample(np.random.default_rng(0), 40)
    read = torch.cat([read_element(group, name) for name in group.names(elements)])
    assert torch.equal(read, elements)


@pytest.mark.parametrize("spec", CONTINUOUS)
def test_a_name_of_a_continuous_group_is_near_its_element(spec: str) -> None:
    """Names round to whole degrees, and axes and shifts to one decimal."""
    group = make_group(spec)
    elements = torch.cat([group.sample(np.random.default_rng(0), 40), group.examples()])
    read = torch.cat([read_element(group, name) for name in group.names(elements)])
    assert group.distance(read, elements).max() < math.radians(20)
    assert group.distance(read, elements).median() < math.radians(5)


@given(degrees=st.floats(-1000, 1000))
def test_angles_of_the_plane_are_degrees(degrees: float) -> None:
    group = make_group("so2")
    g = read_element(group, f"{degrees!r}")
    radians = torch.tensor([math.radians(degrees)])
    assert group.distance(g, radians).item() < 1e-3


@given(
    degrees=st.floats(-720, 720),
    axis=st.tuples(*[st.floats(-3, 3)] * 3).filter(lambda a: max(map(abs, a)) > 0.01),
)
def test_an_axis_of_any_length_turns_alike(degrees: float, axis: tuple[float, ...]) -> None:
    """About its axis a rotation leaves the axis alone and turns by its angle."""
    group = make_group("so3")
    g = read_element(group, f"{degrees!r} [{' '.join(map(repr, axis))}]")
    vector = torch.tensor(axis) / torch.tensor(axis).norm()
    moved = (group.matrix(g)[0] * vector).sum(-1)
    assert torch.allclose(moved, vector, atol=1e-5)
    angle = abs((degrees + 180) % 360 - 180)
    assert group.distance(group.identity(1), g).item() == pytest.approx(
        math.radians(angle), abs=2e-3
    )


@pytest.mark.parametrize(
    ("spec", "text", "name"),
    [
        ("c4", "-90", "270"),
        ("c4", " 450 ", "90"),
        ("d4", "-90 mirrored", "270 mirrored"),
        ("octahedral", "90  -z", "90 -z"),
        ("so2", "-30", "330"),
        ("so3", "90 z", "90 z"),
        ("so3", "-90 z", "90 -z"),
        ("so3", "120 [2, 2, 2]", "120 [1 1 1]"),
        ("so3", "0", "0"),
        ("so2+shift:28:3", "(2.5,-1)", "0 + (2.5, -1)"),
        ("so2+shift:28:3", "30+(1, 1)", "30 + (1, 1)"),
        ("so2+shift:28:3", "30", "30 + (0, 0)"),
        ("d4+wrap:8:4", "90", "90"),
        ("d4+wrap:8:4", "(4, -4)", "0 + (4, 4)"),
        ("wrap2d:8:4", "(12, 0)", "(4, 0)"),
    ],
)
def test_other_ways_to_say_the_same(spec: str, text: str, name: str) -> None:
    group = make_group(spec)
    assert group.names(read_element(group, text)) == [name]


def test_lists_all_and_examples() -> None:
    c4 = make_group("c4")
    assert read_elements(c4, "all") == (["0", "90", "180", "270"], pytest.approx(c4.elements()))
    names, elements = read_elements(c4, "[90, 270]")
    assert (names, elements.tolist()) == (["90", "270"], [1, 3])
    names, elements = read_elements(make_group("so3"), "[90 z,120 [1 1 1],30 [0, 1, 0]]")
    assert names == ["90 z", "120 [1 1 1]", "30 [0, 1, 0]"]
    assert elements.shape == (3, 4)
    assert len(read_elements(make_group("so2"), "examples")[0]) == 8
    assert split_list("(4, 0), (0, 4)") == ["(4, 0)", "(0, 4)"]


@pytest.mark.parametrize(
    ("spec", "text", "words"),
    [
        ("c4", "45", "known: 0, 90, 180, 270, all"),
        ("c4", "", "known: 0, 90, 180, 270, all"),
        ("c4", "[90,]", "does not name an element"),
        ("c4", "[]", "does not name an element"),
        ("octahedral", "90", "write them like: 0, 90 x"),
        ("so2", "all", "so2 has infinitely many elements"),
        ("so2", "nan", "'nan' is not a number"),
        ("so2", "left", "'left' is not a number"),
        ("so3", "90", "the axis is missing"),
        ("so3", "90 w", "w is not an axis"),
        ("so3", "90 [0 0 0]", "not all 0"),
        ("so3", "90 [1 0]", "three numbers"),
        ("wrap2d:8:4", "(2, 0)", "multiples of 4 pixels"),
        ("wrap2d:8:4", "(4, 0, 0)", "2 numbers"),
        ("so2+shift:28:3", "(4, 0)", "at most 3 pixels"),
        ("octahedral+wrap:8:1", "all", "12288 elements"),
    ],
)
def test_what_is_not_understood_is_one_line(spec: str, text: str, words: str) -> None:
    with pytest.raises(ValueError) as error:
        read_elements(make_group(spec), text)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
