"""Protects `turns:N`: its laws, and that it takes each value from the nearest pixel.

A picture must turn as other programs turn it, or published numbers could not be met; quarter turns
must be exact; no value may be mixed with others.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orbit.core.groups import make_group
from orbit.core.groups.interpolation import inscribed
from orbit.core.groups.words import read_elements
from orbit.testing import check_group


@pytest.mark.parametrize("num", [2, 7, 10, 36, 360])
def test_the_group_keeps_its_laws(num: int) -> None:
    group = make_group(f"turns:{num}")
    check_group(group, [], num=32)
    assert group.name == f"turns:{num}"
    assert read_elements(group, "[0]")[1].tolist() == [0]
    names = group.names(group.elements()[:3])
    assert read_elements(group, f"[{','.join(names)}]")[1].tolist() == [0, 1, 2][:num]


@settings(max_examples=20)
@given(num=st.integers(2, 40), side=st.integers(2, 9), seed=st.integers(0, 999))
def test_each_value_comes_from_the_nearest_pixel(num: int, side: int, seed: int) -> None:
    """Against a plain loop over pixels; half way between pixels either may be taken."""
    group, middle = make_group(f"turns:{num}"), (side - 1) / 2
    k = int(np.random.default_rng(seed).integers(num))
    numbered = torch.arange(side * side).view(1, 1, side, side)
    found = group.act_on_image(numbered, torch.tensor([k]))[0, 0]
    angle = 2 * math.pi * k / num
    for row in range(side):
        for column in range(side):
            from_row, from_column = divmod(int(found[row, column]), side)
            x, y = column - middle, middle - row
            if x * x + y * y > middle**2:
                assert (from_row, from_column) == (row, column)
                continue
            before = (
                math.cos(angle) * x + math.sin(angle) * y,
                -math.sin(angle) * x + math.cos(angle) * y,
            )
            off = (from_column - middle - before[0], middle - from_row - before[1])
            assert max(map(abs, off)) <= 0.5 + 1e-5


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.int64, torch.bool])
@pytest.mark.parametrize("side", [8, 9])
def test_quarter_turns_are_exact_on_the_disc(side: int, dtype: torch.dtype) -> None:
    group = make_group("turns:12")
    noise = np.random.default_rng(0).integers(0, 2, (4, 2, side, side))
    frames = torch.from_numpy(noise * inscribed((side, side))).to(dtype)
    moved = group.act_on_image(frames, torch.tensor([0, 3, 6, 9]))
    turned = [torch.rot90(frame, k, (-2, -1)) for k, frame in enumerate(frames)]
    assert torch.equal(moved, torch.stack(turned))


def test_pictures_turn_as_another_library_turns_them() -> None:
    group, side = make_group("turns:10"), 28
    noise = np.random.default_rng(1).integers(0, 256, (side, side), np.uint8)
    frame = noise * inscribed((side, side), 1.0)  # so that nothing comes from beside the disc
    moved = group.act_on_image(torch.from_numpy(frame).expand(10, 1, side, side), group.elements())
    for k, found in enumerate(moved[:, 0].numpy()):
        wanted = Image.fromarray(frame).rotate(36 * k, resample=Image.Resampling.NEAREST)
        assert np.array_equal(found, np.asarray(wanted)), f"{36 * k} degrees"


@pytest.mark.parametrize("num", [2, 5, 6])
def test_representations_are_homomorphisms_and_none_is_missing(num: int) -> None:
    group = make_group(f"turns:{num}")
    g, h = group.elements().repeat_interleave(num), group.elements().repeat(num)
    irreps = group.irreps(1)
    assert irreps[0].name == "trivial"
    assert sum(irrep.size for irrep in irreps) == num
    for irrep in irreps:
        product = irrep.matrix(g) @ irrep.matrix(h)
        assert torch.allclose(irrep.matrix(group.compose(g, h)), product, atol=1e-6)
        unit = torch.eye(irrep.size).expand_as(product)
        assert torch.allclose(irrep.matrix(g) @ irrep.matrix(g).mT, unit, atol=1e-6)
    characters = [irrep.matrix(group.elements()).diagonal(0, 1, 2).sum(1) for irrep in irreps]
    products = torch.stack(characters) @ torch.stack(characters).T / num
    assert torch.allclose(products, products.diagonal().diag(), atol=1e-6)


@pytest.mark.parametrize(
    "text", ["turns", "turns:0", "turns:1", "turns:361", "turns:x", "turns:4:2"]
)
def test_numbers_that_fit_no_group_are_named(text: str) -> None:
    with pytest.raises(ValueError, match=rf"group '{text}'.*NUM") as error:
        make_group(text)
    assert "\n" not in str(error.value)
