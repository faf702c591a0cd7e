"""Protects the group conventions: laws of C4, exactness of its action, encode and decode.

The action on images must be a left action, bit-equal to a per-sample `torch.rot90`
loop, and an encoder whose kernels are symmetric must commute with it.
"""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.groups import GROUP_NAMES, make_group

C4 = make_group("c4")
PAIRS = list(itertools.product(range(4), repeat=2))


def random_tensor(seed: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 200, shape)).to(dtype)


def per_sample_rot90(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    return torch.stack(
        [torch.rot90(sample, int(k), (-2, -1)) for sample, k in zip(x, turns, strict=True)]
    )


@pytest.mark.parametrize("name", GROUP_NAMES)
def test_group_laws(name: str) -> None:
    group = make_group(name)
    elements = group.elements()
    assert group.num_elements == len(elements) == len(group.element_names)
    count = len(elements)
    g = elements.repeat_interleave(count, 0)
    h = elements.repeat(count, *(1,) * (elements.ndim - 1))
    table = group.element_index(group.compose(g, h)).reshape(count, count)
    # Closure, and every row and column a permutation: the products are a Latin square.
    assert torch.equal(table.sort(0).values, torch.arange(count)[:, None].expand(count, count))
    assert torch.equal(table.sort(1).values, torch.arange(count).expand(count, count))
    identity = group.identity(count)
    assert torch.equal(group.element_index(identity), torch.zeros(count, dtype=torch.int64))
    assert torch.equal(group.compose(identity, elements), elements)
    assert torch.equal(group.compose(elements, identity), elements)
    assert torch.equal(group.compose(elements, group.inverse(elements)), identity)
    assert torch.equal(group.compose(group.inverse(elements), elements), identity)
    left = table[table, :]  # (g h) k
    right = table[:, table]  # g (h k)
    assert torch.equal(left, right)


@pytest.mark.parametrize("name", GROUP_NAMES)
def test_action_vectors_round_trip(name: str) -> None:
    group = make_group(name)
    elements = group.sample(np.random.default_rng(0), 500)
    action = group.encode(elements)
    assert action.dtype == torch.float32
    assert action.shape == (500, len(group.action_components))
    assert torch.equal(group.decode(action), elements)
    low = torch.tensor([component.minimum for component in group.action_components])
    high = torch.tensor([component.maximum for component in group.action_components])
    assert ((action >= low) & (action <= high)).all()


def test_samples_are_uniform() -> None:
    counts = torch.bincount(C4.sample(np.random.default_rng(1), 40_000), minlength=4)
    assert len(counts) == 4
    assert float(((counts - 10_000) ** 2 / 10_000).sum()) < 16.3  # chi-square, 3 degrees, p = 0.001


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


def test_unknown_group_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown group 'c5'.*c4"):
        make_group("c5")
