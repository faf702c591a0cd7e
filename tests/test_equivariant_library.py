"""Layers agree with e2cnn, the library of the paper's models (Weiler and Cesa 2019).

Skipped where it is absent; `pip install -e '.[test]'` brings it.
"""

import itertools
from typing import Any

import pytest
import torch
from helpers.old_library import revive
from torch import nn

from pipeline.equivariant import FieldBatchNorm2d, FieldType, GroupConv2d
from pipeline.equivariant.fields import inverses

e2cnn = pytest.importorskip("e2cnn", reason="needs the library e2cnn (extra test)")
from e2cnn import gspaces  # noqa: E402
from e2cnn import nn as e2nn  # noqa: E402

NAMES = ("trivial", "quotient", "regular", "sign", "standard")
BETWEEN = [(g, a, b) for g in ("c4", "d4") for a in NAMES for b in NAMES]


@pytest.fixture(autouse=True)
def _revived(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    revive(monkeypatch)


def their_fields(fields: FieldType) -> Any:
    if fields.group == "c4":
        space = gspaces.Rot2dOnR2(4)
        quotient, sign, standard = space.quotient_repr(2), space.irrep(2), space.irrep(1)
    else:
        space = gspaces.FlipRot2dOnR2(4)
        quotient, sign = space.quotient_repr((None, 4)), space.irrep(1, 0)
        standard = space.irrep(1, 1)
    known = {
        "trivial": space.trivial_repr,
        "quotient": quotient,
        "regular": space.regular_repr,
        "sign": sign,
        "standard": standard,
    }
    return e2nn.FieldType(space, [known[fields.representation]] * fields.num_fields)


def as_theirs(x: torch.Tensor, fields: FieldType) -> torch.Tensor:
    """Ours keeps at h what is seen after h acted; theirs, as is usual, at the inverse of h. Vectors
    of the plane are (x, y) here, (y, -x) there."""
    fibres = x.unflatten(1, (fields.num_fields, fields.fibre_size))
    if fields.representation == "regular":
        return fibres[:, :, inverses(fields.group)].flatten(1, 2)
    if fields.representation == "standard":
        return torch.stack((fibres[:, :, 1], -fibres[:, :, 0]), 2).flatten(1, 2)
    return x


def as_ours(x: torch.Tensor, fields: FieldType) -> torch.Tensor:
    back = as_theirs(x, fields)
    return -back if fields.representation == "standard" else back


def their_output(layer: Any, x: torch.Tensor, fields: tuple[FieldType, FieldType]) -> torch.Tensor:
    """What their layer makes of our maps, as our maps."""
    given = e2nn.GeometricTensor(as_theirs(x, fields[0]), layer.in_type)
    return as_ours(layer(given).tensor, fields[1])


WINDOWS = (
    (1, {}),
    (3, {"padding": 1}),
    (3, {"padding": 1, "stride": 2}),
    (3, {"padding": 2, "dilation": 2}),
    (5, {"padding": 2}),
    (10, {"stride": 10}),
)


@pytest.mark.parametrize(("group", "input", "output"), BETWEEN)
def test_all_outputs_of_one_layer_are_outputs_of_the_other(
    group: str, input: str, output: str
) -> None:
    """Numbers of weights agree, and weights of ours reproduce theirs with random weights."""
    fields = FieldType(group, input, 2), FieldType(group, output, 3)
    for kernel_size, window in WINDOWS:
        try:
            ours = GroupConv2d(*fields, kernel_size, bias=False, **window).double()
        except ValueError:
            with pytest.raises(ValueError, match="basis for the steerable filter is empty"):
                e2nn.R2Conv(*map(their_fields, fields), kernel_size, **window)
            continue
        theirs = e2nn.R2Conv(*map(their_fields, fields), kernel_size, bias=False, **window).double()
        assert ours.weight.numel() == theirs.weights.numel()
        side = 11 if kernel_size < 10 else 20
        x = torch.randn(6, fields[0].num_channels, side, side).double()
        wanted = their_output(theirs, x, fields).detach()
        columns = []
        for place in range(ours.weight.shape[1] * ours.weight.shape[2]):
            weight = torch.zeros_like(ours.weight).flatten(1)
            weight[:, place] = 1
            with torch.no_grad():
                ours.weight.copy_(weight.view_as(ours.weight))
                columns.append(ours(x).unflatten(1, (3, -1)))
        design = torch.stack(columns, -1)
        for field, values in enumerate(wanted.unflatten(1, (3, -1)).unbind(1)):
            matrix = design[:, field].flatten(0, -2)
            found = torch.linalg.lstsq(matrix, values.flatten()[:, None], driver="gelsd").solution
            error = (matrix @ found)[:, 0] - values.flatten()
            assert error.abs().max() < 1e-6 * max(1.0, float(values.abs().max()))


@pytest.mark.parametrize("dilation", [4, 32])
def test_numbers_of_weights_agree_for_the_dilations_of_the_reacher(dilation: int) -> None:
    window = {"padding": dilation, "dilation": dilation, "bias": False}
    for group in ("c4", "d4"):
        fields = FieldType(group, "regular", 2), FieldType(group, "regular", 3)
        theirs = e2nn.R2Conv(*map(their_fields, fields), 3, **window)
        assert GroupConv2d(*fields, 3, **window).weight.numel() == theirs.weights.numel()


def test_fresh_weights_have_outputs_of_one_size() -> None:
    """Both keep variances: the standard deviations of many outputs agree."""
    for group, input in itertools.product(("c4", "d4"), ("trivial", "regular")):
        fields = FieldType(group, input, 32), FieldType(group, "regular", 32)
        x = torch.randn(4, fields[0].num_channels, 9, 9).double()
        ours = GroupConv2d(*fields, 3).double()(x).std()
        theirs = e2nn.R2Conv(*map(their_fields, fields), 3).double()
        assert (ours / their_output(theirs, x, fields).std()).item() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("group", ["c4", "d4"])
def test_batch_norms_agree_in_training_and_afterwards(group: str) -> None:
    fields = FieldType(group, "regular", 3)
    ours, theirs = FieldBatchNorm2d(fields), e2nn.InnerBatchNorm(their_fields(fields))
    assert sum(map(torch.numel, ours.parameters())) == sum(map(torch.numel, theirs.parameters()))
    for name, own in ours.named_parameters():
        (other,) = (p for key, p in theirs.named_parameters() if key.endswith(f".{name}"))
        nn.init.uniform_(own, 0.5, 2)
        with torch.no_grad():
            other.copy_(own)
    x = 3 * torch.randn(4, fields.num_channels, 5, 5) + 1
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        given = e2nn.GeometricTensor(as_theirs(x, fields), theirs.in_type)
        wanted = as_ours(theirs(given).tensor, fields)
        torch.testing.assert_close(ours(x), wanted, rtol=1e-4, atol=1e-4)
