"""Representations come apart into the copies of irreps that characters promise."""

import pytest
import torch

from orbit.core.groups import make_group
from orbit.core.groups.irreps import copies_of_irreps


def regular(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """All elements, and the permutation matrices of h -> g h."""
    group = make_group(name)
    elements = group.elements()
    num = len(elements)
    matrices = torch.zeros(num, num, num)
    for place in range(num):
        g = elements[place : place + 1].expand_as(elements)
        after = group.element_index(group.compose(g, elements))
        matrices[place, after, torch.arange(num)] = 1
    return elements, matrices


@pytest.mark.parametrize("name", ["c4", "d4", "octahedral"])
def test_the_regular_representation_holds_each_irrep_as_often_as_its_size(name: str) -> None:
    """But the turns of c4 once, whose two copies over the complex numbers are one."""
    group = make_group(name)
    elements, matrices = regular(name)
    irreps = group.irreps(0)
    copies = copies_of_irreps(irreps, elements, matrices)
    names = [copy.name for copy in copies]
    num_copies = {irrep.name: 1 if name == "c4" else irrep.size for irrep in irreps}
    assert names == [irrep.name for irrep in irreps for _ in range(num_copies[irrep.name])]
    by_name = {irrep.name: irrep for irrep in irreps}
    x = torch.randn(len(elements), generator=torch.Generator().manual_seed(0)).double()
    for copy in copies:
        for place, matrix in enumerate(matrices.double()):
            d = by_name[copy.name].matrix(elements[place : place + 1])[0].double()
            torch.testing.assert_close(copy.rows @ matrix @ x, d @ copy.rows @ x)


def test_acting_from_the_other_side_comes_apart_too() -> None:
    """x(h) -> x(h g) is another representation on the same numbers."""
    elements, matrices = regular("d4")
    group = make_group("d4")
    other = torch.zeros_like(matrices)
    for place in range(8):
        g = elements[place : place + 1].expand_as(elements)
        after = group.element_index(group.compose(elements, group.inverse(g)))
        other[place, after, torch.arange(8)] = 1
    names = [copy.name for copy in copies_of_irreps(group.irreps(0), elements, other)]
    assert names == ["A1", "A2", "B1", "B2", "E", "E"]


def test_several_copies_of_turns_are_told_apart() -> None:
    """Of two regular representations of c4 side by side, two planes and two lines of each sign."""
    elements, matrices = regular("c4")
    both = torch.stack([torch.block_diag(matrix, matrix) for matrix in matrices])
    irreps = make_group("c4").irreps(0)
    copies = copies_of_irreps(irreps, elements, both)
    names = [copy.name for copy in copies]
    assert names == ["trivial"] * 2 + ["sign"] * 2 + ["rotation"] * 2
    turn = irreps[2].matrix(elements).double()
    for copy in copies[4:]:
        torch.testing.assert_close(copy.rows @ both.double(), turn @ copy.rows)


def test_what_is_no_representation_is_refused() -> None:
    elements, matrices = regular("d4")
    with pytest.raises(ValueError, match="do not split"):
        copies_of_irreps(make_group("d4").irreps(0), elements, matrices.roll(1, 0))
