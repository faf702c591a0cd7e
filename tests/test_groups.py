"""Protects C4 and the specifications of groups.

The action of C4 on images must be a left action, bit-equal to a per-sample `torch.rot90`
loop, and an encoder whose kernels are symmetric must commute with it. A specification
that names no group must be refused in one line that says what is allowed.
"""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from orbit.core.groups import GROUP_NAMES, make_group

C4 = make_group("c4")
PAIRS = list(itertools.product(range(4), repeat=2))


def random_tensor(seed: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 200, shape)).to(dtype)


def per_sample_rot90(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    return torch.stack(
        [torch.rot90(sample, int(k), (-2, -1)) for sample, k in zip(x, turns, strict=True)]
    )


def test_samples_are_uniform() -> None:
    rng = np.random.default_rng(1)
    uniforms = torch.from_numpy(rng.random((40_000, 1)))
    for drawn in (C4.sample(rng, 40_000), C4.from_uniforms(uniforms)):
        counts = torch.bincount(drawn, minlength=4)
        assert len(counts) == 4
        statistic = float(((counts - 10_000) ** 2 / 10_000).sum())
        assert statistic < 16.3  # chi-square, 3 degrees, p = 0.001


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**31),
    num=st.integers(1, 9),
    channels=st.integers(1, 3),
    side=st.integers(1, 9),
    depth=st.sampled_from([None, 1, 4]),
    dtype=st.sampled_from(
        [torch.uint8, torch.int64, torch.bool, torch.float16, torch.bfloat16, torch.float32]
    ),
)
def test_action_is_bit_equal_to_a_rot90_loop(
    seed: int, num: int, channels: int, side: int, depth: int | None, dtype: torch.dtype
) -> None:
    spatial = (side, side) if depth is None else (depth, side, side)
    x = random_tensor(seed, (num, channels, *spatial), dtype)
    turns = C4.sample(np.random.default_rng(seed), num)
    expected = per_sample_rot90(x, turns)
    for acted in (C4.act_on_image(x, turns), C4.act_on_latent(x, turns)):
        assert acted.dtype == dtype
        assert torch.equal(acted, expected)


def test_action_keeps_every_bit_of_a_float() -> None:
    bits = torch.tensor([0x7FC00001, -0x80000000, 0x7F800000, 1], dtype=torch.int32)
    x = bits.view(torch.float32).reshape(1, 1, 2, 2).expand(4, 1, 2, 2)
    acted = C4.act_on_image(x, C4.elements()).contiguous().view(torch.int32)
    assert torch.equal(acted, per_sample_rot90(x.contiguous().view(torch.int32), C4.elements()))


@pytest.mark.parametrize(("g", "h"), PAIRS)
def test_action_is_a_homomorphism(g: int, h: int) -> None:
    for shape in ((2, 3, 5, 5), (2, 1, 3, 4, 4)):
        x = random_tensor(g * 4 + h, shape, torch.uint8)
        first, second = torch.full((2,), h), torch.full((2,), g)
        in_turn = C4.act_on_image(C4.act_on_image(x, first), second)
        assert torch.equal(in_turn, C4.act_on_image(x, C4.compose(second, first)))
        back = C4.act_on_image(C4.act_on_image(x, second), C4.inverse(second))
        assert torch.equal(back, x)


def test_orbit_of_an_image_without_symmetry_has_four_members() -> None:
    orbit = C4.act_on_image(torch.arange(9.0).reshape(1, 1, 3, 3).expand(4, 1, 3, 3), C4.elements())
    assert len({tuple(image.flatten().tolist()) for image in orbit}) == 4


def test_action_passes_gradients_back_through_the_inverse() -> None:
    x = torch.randn(4, 2, 4, 4, requires_grad=True)
    weight = torch.randn(4, 2, 4, 4)
    (C4.act_on_latent(x, C4.elements()) * weight).sum().backward()
    assert torch.equal(x.grad, C4.act_on_latent(weight, C4.inverse(C4.elements())))


def symmetric_encoder(num_spatial: int) -> nn.Sequential:
    """Random stride-2 4-wide layers whose kernels are averaged over the quarter turns."""
    conv = nn.Conv2d if num_spatial == 2 else nn.Conv3d
    torch.manual_seed(0)
    layers = [conv(1, 8, 4, 2, 1), conv(8, 16, 4, 2, 1)]
    for layer in layers:
        kernel = layer.weight.data
        layer.weight.data = sum(torch.rot90(kernel, k, (-2, -1)) for k in range(4)) / 4
    return nn.Sequential(layers[0], nn.LeakyReLU(0.2), layers[1], nn.LeakyReLU(0.2))


@pytest.mark.parametrize("spatial", [(28, 28), (16, 16), (8, 8, 8)])
def test_symmetrised_random_encoder_is_equivariant(spatial: tuple[int, ...]) -> None:
    encoder = symmetric_encoder(len(spatial))
    x = torch.rand(4, 1, *spatial) * 2 - 1
    turns = C4.elements()
    with torch.no_grad():
        encoded_after = encoder(C4.act_on_image(x, turns))
        latent = encoder(x)
    acted_after = C4.act_on_latent(latent, turns)
    error = (encoded_after - acted_after).norm() / acted_after.norm()
    assert error < 1e-6
    # The latents are not all alike, or the comparison would say nothing.
    assert (latent - C4.act_on_latent(latent, turns))[1:].abs().max() > 1e-2


def test_shapes_that_do_not_turn_into_themselves_are_refused() -> None:
    for fitting in ((28, 28), (3, 8, 8)):
        C4.check_spatial_shape(fitting)
    for spatial in ((28, 32), (8, 8, 4), (8,), ()):
        with pytest.raises(ValueError, match="square"):
            C4.check_spatial_shape(spatial)


def test_names_are_those_of_the_elements() -> None:
    assert C4.names(torch.tensor([3, 0, 1])) == ["270", "0", "90"]
    assert C4.bin_names == ("0", "90", "180", "270")
    assert C4.bin_index(C4.elements()).tolist() == [0, 1, 2, 3]
    assert torch.equal(C4.examples(), C4.elements())


def test_unknown_group_lists_the_known_ones() -> None:
    for spec in ("c5", "c4:3", "wrap", "so2+wrap:8:2", "c4+shift:8:2", "", "C4", "wrap2d 8 2"):
        with pytest.raises(ValueError, match=r"unknown group '.*known groups: c4") as error:
            make_group(spec)
        for name in (*GROUP_NAMES, "wrap3d:PERIOD:STEP", "so3+shift:PERIOD:MAX"):
            assert name in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("wrap2d", "wrap2d:PERIOD:STEP"),
        ("so3+shift:32", "so3.shift:PERIOD:MAX"),
        ("c4+wrap:28:4:1", "c4.wrap:PERIOD:STEP"),
        ("wrap2d:28:5", "STEP 5 does not divide PERIOD 28"),
        ("wrap2d:28:28", "STEP 28 does not divide"),
        ("wrap3d:0:1", "PERIOD '0'"),
        ("wrap3d:-8:2", "PERIOD '-8'"),
        ("d4+wrap:8.0:2", "PERIOD '8.0'"),
        ("d4+wrap:8:0", "STEP '0'"),
        ("so2+shift:28:0", "MAX '0'"),
        ("so2+shift:28:nan", "MAX 'nan'"),
        ("so2+shift:28:29", "MAX '29'"),
        ("so2+shift:28:x", "MAX 'x'"),
    ],
)
def test_numbers_that_fit_no_group_are_named(spec: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as error:
        make_group(spec)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "spec",
    [*GROUP_NAMES, "wrap2d:28:4", "octahedral+wrap:8:2", "so2+shift:28:2.5", "so3+shift:8:1"],
)
def test_a_group_is_made_once_and_bears_its_specification(spec: str) -> None:
    assert make_group(spec).name == spec
    assert make_group(spec) is make_group(spec)
