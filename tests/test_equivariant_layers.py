"""Protects equivariant layers: exactness in float64, their two forms, what they register."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import nn

from orbit.core.groups import make_group
from pipeline.equivariant import (
    FieldBatchNorm2d,
    FieldType,
    GroupConv2d,
    GroupLinear,
    act_on_fibre,
    act_on_fields,
    representation_matrices,
    representation_size,
)
from pipeline.equivariant.fields import REPRESENTATIONS, SIGNED, inverses, products

GROUPS = ("c4", "d4")
BETWEEN = [(g, a, b) for g in GROUPS for a in REPRESENTATIONS for b in REPRESENTATIONS]
PERMUTED = [each for each in BETWEEN if not set(each) & set(SIGNED)]
EXACT = 1e-12


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def spoiled(layer: nn.Module) -> nn.Module:
    """In float64, with biases that are not the zeros of the start."""
    for name, parameter in layer.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    return layer.double()


def rank(matrix: torch.Tensor) -> int:
    """Also where all is 0 but for rounding, which a bound relative to the largest value takes for
    more."""
    return int(torch.linalg.matrix_rank(matrix, atol=1e-6))


def convolution(*fields: FieldType, **given: Any) -> GroupConv2d | None:
    """The layer, or None if it says that no kernel but 0 joins the fields: never without signs."""
    try:
        return GroupConv2d(*fields, **given)
    except ValueError as error:
        complaint = str(error)
    assert complaint.startswith(("no kernel of side", "no smooth kernel of side"))
    assert any(each.has_signs for each in fields)
    return None


def assert_commutes(layer: nn.Module, input: FieldType, output: FieldType, size: int) -> None:
    g = make_group(input.group).elements()
    x = torch.randn(len(g), input.num_channels, size, size).double()
    y = layer(x)
    found, wanted = layer(act_on_fields(x, g, input)), act_on_fields(y, g, output)
    assert (found - wanted).abs().max() < EXACT
    assert y.std() > 1e-3


WINDOWS = {
    # kernel size, stride, padding, dilation; a side that is good for it
    "point": ((1, 1, 0, 1), 4),
    "plain": ((3, 1, 1, 1), 6),
    "odd stride": ((3, 2, 1, 1), 9),
    "cells": ((5, 5, 0, 1), 15),
    "dilated": ((3, 1, 4, 4), 9),
    "widest": ((3, 1, 8, 8), 17),
    "third": ((3, 3, 0, 1), 9),
}


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("basis", ["steerable", "lattice"])
@pytest.mark.parametrize(("group", "input", "output"), BETWEEN)
def test_convolutions_commute_with_every_element(
    group: str, input: str, output: str, basis: str, window: str
) -> None:
    """In each form there is, to the rounding of float64."""
    fields = FieldType(group, input, 2), FieldType(group, output, 3)
    (kernel, stride, padding, dilation), size = WINDOWS[window]
    both = ("plain", "fourier") if input == output == "regular" else ("plain",)
    for form in both:
        layer = convolution(
            *fields,
            kernel_size=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            basis=basis,
            form=form,
        )
        if layer is not None:
            assert_commutes(spoiled(layer), *fields, size)


@pytest.mark.parametrize("group", GROUPS)
def test_kernels_of_even_sides_commute(group: str) -> None:
    for input, output in itertools.product(REPRESENTATIONS, repeat=2):
        fields = FieldType(group, input, 2), FieldType(group, output, 2)
        for kernel, basis in ((2, "lattice"), (4, "lattice"), (4, "steerable"), (10, "steerable")):
            layer = convolution(*fields, kernel_size=kernel, stride=kernel, basis=basis)
            if layer is not None:
                assert_commutes(spoiled(layer), *fields, 2 * kernel)
    colours = FieldType(group, "trivial", 1)
    with pytest.raises(ValueError, match=r"no smooth kernel of side 2 .*: use basis='lattice'"):
        GroupConv2d(colours, colours, 2)


@pytest.mark.parametrize(("input", "output"), itertools.product(REPRESENTATIONS, repeat=2))
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_lattice_kernels_are_all_that_commute(
    group: str, input: str, output: str, size: int
) -> None:
    """Against the null space of the condition K(g q) = rho(g) K(q) rho(g)^-1, written out."""
    fields = FieldType(group, input, 1), FieldType(group, output, 1)
    shape = (fields[1].fibre_size, fields[0].fibre_size, size, size)
    num = torch.Size(shape).numel()
    units = torch.eye(num, dtype=torch.float64).view(num, *shape)
    conditions = []
    for g in make_group(group).elements():
        turned = make_group(group).act_on_image(units.flatten(1, 2), g.expand(num))
        before = representation_matrices(group, input)[g]
        after = representation_matrices(group, output)[g]
        moved = torch.einsum("oa,naihw,bi->nobhw", after, turned.view(num, *shape), before)
        conditions.append((moved - units).flatten(1))
    num_free = num - rank(torch.cat(conditions, 1))
    if num_free == 0:
        with pytest.raises(ValueError, match=f"no kernel of side {size} leads from {input} to"):
            GroupConv2d(*fields, size, basis="lattice")
        return
    layer = GroupConv2d(*fields, size, basis="lattice")
    assert layer.weight.shape == (1, 1, num_free)
    kernels = torch.stack([kernel_of(layer, k) for k in range(num_free)])
    assert rank(kernels.flatten(1)) == num_free


def kernel_of(layer: GroupConv2d, place: int) -> torch.Tensor:
    """The kernel when one weight is 1 and all others are 0."""
    weight = torch.zeros_like(layer.weight)
    weight[..., place] = 1
    with torch.no_grad():
        layer.weight.copy_(weight)
        return layer.kernel()


@pytest.mark.parametrize("basis", ["steerable", "lattice"])
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("window", ["point", "plain", "odd stride", "dilated"])
def test_the_fourier_form_is_the_plain_one(group: str, basis: str, window: str) -> None:
    """Values, and gradients of input, weight and bias."""
    (kernel, stride, padding, dilation), size = WINDOWS[window]
    fields = FieldType(group, "regular", 3), FieldType(group, "regular", 2)
    made = [
        spoiled(
            GroupConv2d(
                *fields,
                kernel,
                stride=stride,
                padding=padding,
                dilation=dilation,
                basis=basis,
                form=form,
            )
        )
        for form in ("plain", "fourier")
    ]
    made[1].load_state_dict(made[0].state_dict())
    x = torch.randn(2, fields[0].num_channels, size, size).double()
    assert_same_values_and_gradients(*made, x)


@pytest.mark.parametrize("group", GROUPS)
def test_the_fourier_form_of_pointwise_layers_is_the_plain_one(group: str) -> None:
    plain, fourier = (spoiled(GroupLinear(group, 5, 3, form=f)) for f in ("plain", "fourier"))
    fourier.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, representation_size(group, "regular"), 5).double()
    assert_same_values_and_gradients(plain, fourier, x)
    assert fourier(x[0, 0]).shape == (x.shape[2], 3)


def assert_same_values_and_gradients(one: nn.Module, other: nn.Module, x: torch.Tensor) -> None:
    found = []
    for layer in (one, other):
        given = x.clone().requires_grad_()
        y = layer(given)
        wave = torch.arange(y.numel()).view_as(y).sin().double()
        (y * wave).sum().backward()
        found.append([y.detach(), given.grad, *(p.grad for p in layer.parameters())])
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("group", "input", "output"), BETWEEN)
def test_pointwise_layers_commute_and_are_all_that_do(group: str, input: str, output: str) -> None:
    before, after = (representation_matrices(group, name) for name in (input, output))
    units = torch.eye(before.shape[1] * after.shape[1], dtype=torch.float64)
    units = units.view(-1, after.shape[1], before.shape[1])
    moved = torch.einsum("goa,nab,gib->ngoi", after, units, before) - units[:, None]
    num_free = len(units) - rank(moved.flatten(1))
    if num_free == 0:
        with pytest.raises(ValueError, match=f"no kernel of side 1 leads from {input} to {output}"):
            GroupLinear(group, 3, 2, input=input, output=output)
        return
    layer = spoiled(GroupLinear(group, 3, 2, input=input, output=output))
    assert layer.weight.shape == (num_free, 2, 3)
    assert (layer.bias is None) == (output in SIGNED)
    g = make_group(group).elements()
    x = torch.randn(len(g), 4, representation_size(group, input), 3).double()
    found = layer(act_on_fibre(x, g, group, input))
    assert (found - act_on_fibre(layer(x), g, group, output)).abs().max() < EXACT


def test_the_pointwise_layer_is_the_paper_s_formula() -> None:
    """c4: y_g = sum_h W[(h - g) mod 4] x_h + b. Any group: y_h = sum_k W[k h^-1] x_k + b."""
    layer = spoiled(GroupLinear("c4", 3, 2))
    x = torch.randn(4, 3).double()
    rows = [sum(layer.weight[(h - g) % 4] @ x[h] for h in range(4)) for g in range(4)]
    torch.testing.assert_close(layer(x), torch.stack(rows) + layer.bias)
    layer = spoiled(GroupLinear("d4", 3, 2))
    x = torch.randn(8, 3).double()
    table, back = products("d4"), inverses("d4")
    rows = [sum(layer.weight[table[k, back[h]]] @ x[k] for k in range(8)) for h in range(8)]
    torch.testing.assert_close(layer(x), torch.stack(rows) + layer.bias)


def test_a_pointwise_layer_is_a_convolution_on_one_point() -> None:
    linear, fields = GroupLinear("d4", 3, 2), [FieldType("d4", "regular", n) for n in (3, 2)]
    convolution = GroupConv2d(*fields, 1, basis="lattice")
    with torch.no_grad():
        convolution.weight.copy_(linear.weight.permute(1, 2, 0))
    x = torch.randn(5, 8, 3)
    y = convolution(x.mT.reshape(5, 24, 1, 1)).view(5, 2, 8).mT
    torch.testing.assert_close(y, linear(x))


def network(group: str) -> nn.Sequential:
    """Layers of both forms, a norm, a stride."""
    colours, hidden = FieldType(group, "trivial", 2), FieldType(group, "regular", 3)
    return nn.Sequential(
        GroupConv2d(colours, hidden, 3, stride=2, padding=1),
        FieldBatchNorm2d(hidden),
        nn.ReLU(),
        GroupConv2d(hidden, hidden, 3, padding=2, dilation=2, form="fourier"),
        nn.ReLU(),
        GroupConv2d(hidden, hidden, 3),
        nn.Flatten(1),
        nn.Unflatten(1, (3, -1)),
        nn.Flatten(0, 0),
    )


@pytest.mark.parametrize("group", GROUPS)
def test_checkpoints_hold_weights_alone_and_layers_can_be_copied(group: str) -> None:
    """Kernels are made on the fly: no buffer carries a graph or goes to other ranks to no end."""
    model = network(group)
    x = torch.randn(4, 2, 9, 9)
    model(x).sum().backward()
    names = {name.rpartition(".")[2] for name in model.state_dict()}
    norms = {"running_mean", "running_var", "num_batches_tracked"}
    assert names == {"weight", "bias"} | norms
    assert all(not buffer.requires_grad for buffer in model.buffers())
    assert all(parameter.grad is not None for parameter in model.parameters())
    twin = copy.deepcopy(model)
    before = model(x)
    with torch.no_grad():
        model[0].weight.normal_()
    assert torch.equal(twin(x), before)
    assert (model(x) - before).abs().max() > 1e-2
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin.eval()(x), model.eval()(x))


@pytest.mark.parametrize("group", GROUPS)
def test_layers_are_one_graph_to_the_compiler(group: str) -> None:
    model = nn.ModuleList([network(group), GroupLinear(group, 64, 64), GroupLinear(group, 3, 2)])
    fibres = torch.randn(5, representation_size(group, "regular"), 64)

    def step(x: torch.Tensor, fibres: torch.Tensor) -> torch.Tensor:
        return model[0](x).sum() + model[1](fibres).sum() + model[2](fibres[..., :3]).sum()

    torch.compiler.reset()
    x = torch.randn(4, 2, 9, 9)
    compiled = torch.compile(step, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, fibres), step(x, fibres), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_layers_run_under_autocast(dtype: torch.dtype) -> None:
    model, linear = network("d4"), GroupLinear("d4", 64, 64, form="fourier")
    x, fibres = torch.randn(4, 2, 9, 9), torch.randn(5, 8, 64)
    with torch.autocast("cpu", dtype):
        found = model(x), linear(fibres)
    for low, full in zip(found, (model(x), linear(fibres)), strict=True):
        assert (low.float() - full).abs().max() < 0.1 * full.std()


@pytest.mark.parametrize(("group", "input", "output"), PERMUTED)
@pytest.mark.parametrize("basis", ["steerable", "lattice"])
def test_fresh_layers_keep_variances(group: str, input: str, output: str, basis: str) -> None:
    """Steerable ones: of those irreducible parts of the output that a kernel leads to."""
    fields = FieldType(group, input, 64), FieldType(group, output, 64)
    layer = GroupConv2d(*fields, 3, basis=basis)
    one = GroupConv2d(*(FieldType(group, name, 1) for name in (input, output)), 3, basis=basis)
    kernels = torch.stack([kernel_of(one, k) for k in range(one.weight.shape[-1])], 1)
    num_reached = rank(kernels.flatten(1))
    # All cells of a 3x3 window lie on mirror axes: nothing there tells the sides apart.
    is_missing = (group, input) == ("d4", "trivial") and output != "trivial"
    assert num_reached == fields[1].fibre_size - is_missing
    share = num_reached / fields[1].fibre_size if basis == "steerable" else 1
    variance = layer(torch.randn(8, fields[0].num_channels, 9, 9)).var().item()
    assert variance == pytest.approx(share, rel=0.2)


def test_strides_that_break_exactness_are_refused_and_do_break_it() -> None:
    colours, hidden = FieldType("d4", "trivial", 1), FieldType("d4", "regular", 1)
    window = {"stride": 2, "padding": 1}
    layer = spoiled(GroupConv2d(colours, hidden, 3, **window))
    complaint = r"convolution: stride 2 .* side of 128; the nearest sides that are: 127 and 129"
    with pytest.raises(ValueError, match=complaint) as error:
        layer(torch.zeros(1, 1, 128, 128).double())
    assert "\n" not in str(error.value)
    free = spoiled(GroupConv2d(colours, hidden, 3, **window, require_exact=False))
    with pytest.raises(AssertionError):
        assert_commutes(free, colours, hidden, 8)
    assert_commutes(free, colours, hidden, 9)


REGULAR, PAIR = FieldType("c4", "regular", 1), FieldType("c4", "quotient", 1)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: GroupConv2d(REGULAR, FieldType("d4", "regular", 1), 3), "from c4 to d4"),
        (lambda: GroupConv2d(REGULAR, REGULAR, 0), "cannot have the side 0"),
        (lambda: GroupConv2d(REGULAR, REGULAR, 3, basis="full"), "basis 'full'; known: steerable"),
        (lambda: GroupConv2d(REGULAR, REGULAR, 3, form="fast"), "form 'fast'; known: auto, plain"),
        (lambda: GroupConv2d(PAIR, REGULAR, 3, form="fourier"), "no fourier form from quotient"),
        (lambda: GroupLinear("c4", 1, 1, input="odd"), "unknown representation 'odd'"),
        (lambda: GroupLinear("c4", 1, 1, input="trivial", output="sign"), "leads from trivial to"),
        (lambda: GroupLinear("c5", 1, 1), "no layers for group 'c5'"),
        (lambda: GroupLinear("c4", 1, 1, form="fourier", output="trivial"), "regular to trivial"),
    ],
)
def test_mistakes_are_one_line(call, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as error:
        call()
    assert "\n" not in str(error.value)
