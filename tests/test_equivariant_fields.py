"""Protects what equivariant layers are made of: representations, fields, kernels, good sizes."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit.core.groups import make_group
from pipeline.equivariant import (
    FibreLayerNorm,
    FieldAvgPool2d,
    FieldBatchNorm2d,
    FieldMaxPool2d,
    FieldType,
    act_on_fibre,
    act_on_fields,
    check_size,
    num_orbits,
    orbit_stack,
    output_size,
    pool_fibre,
    representation_matrices,
    representation_size,
)
from pipeline.equivariant.fields import REPRESENTATIONS, products
from pipeline.equivariant.steerable_basis import irreps, kernel_orbits, parts, turned_cells

GROUPS = ("c4", "d4")
FIELDS = [FieldType(group, name, 3) for group in GROUPS for name in REPRESENTATIONS]
PERMUTED = [fields for fields in FIELDS if not fields.has_signs]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def named(fields: FieldType) -> str:
    return f"{fields.group} {fields.representation}"


def pairs(group: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All pairs g, h, and g h as the group composes them."""
    elements = make_group(group).elements()
    g, h = elements.repeat_interleave(len(elements)), elements.repeat(len(elements))
    return g, h, make_group(group).compose(g, h)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("group", GROUPS)
def test_representations_are_orthogonal_and_multiply_as_the_group_does(
    group: str, representation: str
) -> None:
    matrices = representation_matrices(group, representation)
    size = representation_size(group, representation)
    assert matrices.shape == (len(make_group(group).elements()), size, size)
    g, h, both = pairs(group)
    assert torch.equal(matrices[g] @ matrices[h], matrices[both])
    assert torch.equal(matrices @ matrices.mT, torch.eye(size).double().expand_as(matrices))
    assert torch.equal(products(group)[g, h], both)
    faithful = representation in ("regular", "standard")
    assert (len(torch.unique(matrices, dim=0)) == len(matrices)) == faithful


@pytest.mark.parametrize("fields", FIELDS, ids=named)
def test_fibres_move_by_their_matrices_along_any_axis(fields: FieldType) -> None:
    group, name, size = fields.group, fields.representation, fields.fibre_size
    g, h, both = pairs(group)
    x = torch.randn(len(g), 2, size, 5)
    moved = act_on_fibre(x, g, group, name)
    wanted = representation_matrices(group, name).float()[g][:, None] @ x
    assert torch.equal(moved, wanted)
    aside = act_on_fibre(x.mT.contiguous(), g, group, name, -1)
    assert torch.equal(aside.mT, moved)
    again = act_on_fibre(act_on_fibre(x, h, group, name), g, group, name)
    assert torch.equal(again, act_on_fibre(x, both, group, name))


def test_fibres_are_read_as_documented() -> None:
    """A quarter turn rolls a c4 fibre by -1; elements of sign -1 exchange a quotient's values."""
    x = torch.arange(4.0).view(1, 4, 1)
    turn = torch.tensor([1])
    assert act_on_fibre(x, turn, "c4").flatten().tolist() == [1, 2, 3, 0]
    two = torch.tensor([[[5.0], [7.0]]])
    for group, odd in (("c4", (1, 3)), ("d4", (4, 5, 6, 7))):
        for element in make_group(group).elements().tolist():
            moved = act_on_fibre(two, torch.tensor([element]), group, "quotient")
            assert moved.flatten().tolist() == ([7, 5] if element in odd else [5, 7])


@pytest.mark.parametrize("fields", FIELDS, ids=named)
@pytest.mark.parametrize("size", [1, 4, 5])
def test_fields_carry_a_left_action_and_turn_as_pictures_do(fields: FieldType, size: int) -> None:
    g, h, both = pairs(fields.group)
    x = torch.randn(len(g), fields.num_channels, size, size)
    assert torch.equal(
        act_on_fields(act_on_fields(x, h, fields), g, fields), act_on_fields(x, both, fields)
    )
    if fields.representation == "trivial":
        assert torch.equal(act_on_fields(x, g, fields), make_group(fields.group).act_on_image(x, g))
    with pytest.raises(ValueError, match="square maps"):
        act_on_fields(torch.zeros(len(g), fields.num_channels, 4, 5), g, fields)


@pytest.mark.parametrize("fields", FIELDS, ids=named)
def test_parts_split_a_fibre_into_its_irreps(fields: FieldType) -> None:
    """Rows of all copies are orthonormal, and each part moves by the irrep of its name."""
    group, name = fields.group, fields.representation
    found = parts(group, name)
    rows = torch.cat([part.matrix for part in found])
    assert torch.allclose(rows @ rows.T, torch.eye(len(rows)).double(), atol=1e-12)
    assert len(rows) == fields.fibre_size
    for part in found:
        for g, matrix in enumerate(representation_matrices(group, name)):
            wanted = irreps(group)[part.name][g] @ part.matrix
            assert torch.allclose(part.matrix @ matrix, wanted, atol=1e-12)


BETWEEN = [(g, a, b) for g in GROUPS for a in REPRESENTATIONS for b in REPRESENTATIONS]


@pytest.mark.parametrize(("group", "input", "output"), BETWEEN)
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_kernels_have_as_many_free_numbers_as_characters_say(
    group: str, input: str, output: str, size: int
) -> None:
    """Burnside: the mean over the group of the numbers that an element leaves in place."""
    cells = turned_cells(group, size)
    in_place = (cells == torch.arange(size**2)).sum(1).double()
    traces = [
        representation_matrices(group, name).diagonal(dim1=1, dim2=2).sum(1)
        for name in (input, output)
    ]
    expected = (in_place * traces[0] * traces[1]).mean()
    if expected == 0:
        with pytest.raises(ValueError, match=f"no kernel of side {size} leads from {input} to"):
            kernel_orbits(group, input, output, size)
        return
    orbits = kernel_orbits(group, input, output, size)
    assert orbits.num == expected
    assert orbits.orbit[orbits.sign != 0].unique().tolist() == list(range(orbits.num))


@settings(max_examples=150, deadline=None)
@given(
    size=st.integers(1, 20),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.integers(0, 4),
    dilation=st.integers(1, 3),
)
def test_sizes_are_good_where_windows_lie_symmetrically(
    size: int, kernel: int, stride: int, padding: int, dilation: int
) -> None:
    """Against the windows themselves; the sizes that the message names are good."""
    window = (kernel, stride, padding, dilation)
    reach = dilation * (kernel - 1) + 1
    if size + 2 * padding < reach:
        with pytest.raises(ValueError, match=f"a side of {size} is smaller than the window"):
            check_size("layer", size, *window)
        return
    starts = list(range(-padding, size + padding - reach + 1, stride))
    assert output_size(size, *window) == len(starts)
    mirrored = [size - start - reach for start in reversed(starts)]
    if starts == mirrored:
        check_size("layer", size, *window)
        return
    with pytest.raises(ValueError, match=f"layer: stride {stride} .* side of {size}") as error:
        check_size("layer", size, *window)
    named_sizes = str(error.value).rpartition(": ")[2].split(" and ")
    assert named_sizes
    for good in map(int, named_sizes):
        assert 0 < abs(good - size) < stride
        check_size("layer", good, *window)


@pytest.mark.parametrize("size", [1, 2, 5, 6, 7, 50])
def test_stacked_orbits_are_fibres_that_lose_nothing(size: int) -> None:
    half = size // 2
    assert num_orbits(size) == (half**2 if size % 2 == 0 else 1 + half + half**2)
    maps = torch.randn(4, 3, size, size)
    g = torch.arange(4)
    stack = orbit_stack(maps)
    assert stack.shape == (4, 3, 4, num_orbits(size))
    turned = orbit_stack(make_group("c4").act_on_image(maps, g))
    assert torch.equal(turned, act_on_fibre(stack, g, "c4"))
    assert set(stack[0].flatten().tolist()) == set(maps[0].flatten().tolist())
    with pytest.raises(ValueError, match="square maps"):
        orbit_stack(torch.zeros(1, 4, 5))


def test_numbers_of_orbits_are_those_of_the_paper_s_networks() -> None:
    assert (num_orbits(50), num_orbits(5)) == (625, 7)


@pytest.mark.parametrize("fields", PERMUTED, ids=named)
@pytest.mark.parametrize(
    ("layer", "good", "bad"),
    [
        (FieldMaxPool2d(2), 6, 7),
        (FieldMaxPool2d(3, 2, 1), 7, 6),
        (FieldAvgPool2d(2), 6, 7),
        (FieldAvgPool2d(3, 2, 1), 7, 6),
    ],
)
def test_pooling_commutes_on_good_sides_and_refuses_others(
    fields: FieldType, layer: FieldMaxPool2d, good: int, bad: int
) -> None:
    g = make_group(fields.group).elements()
    x = torch.randn(len(g), fields.num_channels, good, good).double()
    turned = layer(act_on_fields(x, g, fields))
    torch.testing.assert_close(turned, act_on_fields(layer(x), g, fields), rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match=f"pooling: stride 2 .* side of {bad}; .* {bad - 1}"):
        layer(torch.zeros(1, fields.num_channels, bad, bad))
    free = type(layer)(layer.kernel_size, layer.stride, layer.padding, require_exact=False)
    x = torch.randn(len(g), fields.num_channels, bad, bad).double()
    assert not torch.allclose(free(act_on_fields(x, g, fields)), act_on_fields(free(x), g, fields))


def test_a_mean_leaves_out_places_beyond_the_map() -> None:
    pooled = FieldAvgPool2d(3, 2, 1)(torch.ones(1, 1, 5, 5))
    assert torch.equal(pooled, torch.ones(1, 1, 3, 3))


@pytest.mark.parametrize("group", GROUPS)
def test_pooled_fibres_do_not_move(group: str) -> None:
    g = make_group(group).elements()
    x = torch.randn(len(g), representation_size(group, "regular"), 3).double()
    for how in ("max", "mean"):
        moved = pool_fibre(act_on_fibre(x, g, group), how)
        torch.testing.assert_close(moved, pool_fibre(x, how), rtol=0, atol=1e-15)


@pytest.mark.parametrize("fields", PERMUTED, ids=named)
def test_batch_norm_commutes_with_one_affine_map_a_field(fields: FieldType) -> None:
    """Also with weights, biases and statistics that are not those of the start."""
    norm = FieldBatchNorm2d(fields).double()
    assert [tuple(p.shape) for p in norm.parameters()] == [(3,), (3,)]
    torch.nn.init.uniform_(norm.weight, 0.5, 2)
    torch.nn.init.uniform_(norm.bias)
    g = make_group(fields.group).elements()
    scale = torch.logspace(-0.3, 0.3, fields.num_channels).view(-1, 1, 1).double()
    x = torch.randn(1, fields.num_channels, 5, 5).double() * scale + scale
    x = x.expand(len(g), -1, -1, -1)
    for training in (True, False):
        norm.train(training)
        found, wanted = norm(act_on_fields(x, g, fields)), act_on_fields(norm(x), g, fields)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    norm.train()
    y = (norm(x) - norm.bias.repeat_interleave(fields.fibre_size)[:, None, None]).detach()
    y = y.unflatten(1, (3, fields.fibre_size)) / norm.weight.view(3, 1, 1, 1)
    assert y.mean((0, 2, 3, 4)).abs().max() < 1e-6
    assert (y.var((0, 2, 3, 4), correction=0) - 1).abs().max() < 1e-3


@pytest.mark.parametrize("group", GROUPS)
def test_layer_norm_commutes_and_treats_each_value_of_a_fibre_alone(group: str) -> None:
    norm = FibreLayerNorm(6).double()
    torch.nn.init.uniform_(norm.weight, 0.5, 2)
    torch.nn.init.uniform_(norm.bias)
    g = make_group(group).elements()
    x = torch.randn(len(g), 2, representation_size(group, "regular"), 6).double()
    found = norm(act_on_fibre(x, g, group))
    torch.testing.assert_close(found, act_on_fibre(norm(x), g, group), rtol=0, atol=1e-13)
    one = norm(x[:, :, :1])
    torch.testing.assert_close(one, norm(x)[:, :, :1], rtol=0, atol=1e-13)


def test_the_standard_representation_is_the_plane_itself() -> None:
    """A picture with one bright pixel at (x, y) has it at the turned place."""
    size, middle = 5, 2
    for group in GROUPS:
        matrices = representation_matrices(group, "standard").long()
        for g in make_group(group).elements():
            for x, y in itertools.product(range(-2, 3), repeat=2):
                picture = torch.zeros(1, 1, size, size)
                picture[0, 0, middle - y, middle + x] = 1
                turned = make_group(group).act_on_image(picture, g[None])[0, 0]
                new_x, new_y = (matrices[g] @ torch.tensor([x, y])).tolist()
                assert turned[middle - new_y, middle + new_x] == 1


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: FieldType("so2", "regular", 1), "no layers for group 'so2'; .* c4, d4"),
        (lambda: FieldType("c4", "odd", 1), "unknown representation 'odd'; known: trivial, quo"),
        (lambda: FieldBatchNorm2d(FieldType("c4", "sign", 1)), "sign fields have no batch norm"),
        (lambda: FieldType("c4", "regular", 0), "a field at least, not 0"),
        (lambda: representation_matrices("c4", "large"), "unknown representation 'large'; known"),
        (lambda: representation_size("octahedral", "regular"), "no layers for group 'octahedral'"),
    ],
)
def test_mistakes_are_one_line(call, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as error:
        call()
    assert "\n" not in str(error.value)
