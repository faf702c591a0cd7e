"""Batch norm and gathered rows do on two ranks what they do on one."""

from typing import Any

import pytest
import torch
from helpers.ranks import run_on_ranks
from torch import nn

from pipeline.arithmetic import prepare_compiler
from pipeline.global_batch import GlobalBatchNorm, gather_rows

pytestmark = pytest.mark.usefixtures("starts_are_warm")

SHAPES = ((12, 5), (12, 5, 7), (12, 5, 4, 3), (12, 5, 3, 2, 2))


def batch(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows far from mean 0, ranks' halves unlike each other, and weights of a loss."""
    generator = torch.Generator().manual_seed(len(shape))
    x = 3 * torch.randn(shape, generator=generator) + 10
    x[: len(x) // 2] += torch.arange(shape[1]).view(1, -1, *(1,) * (len(shape) - 2))
    return x, torch.randn(shape, generator=generator)


def slice_of_rank(rows: torch.Tensor, rank: int, size: int) -> torch.Tensor:
    share = len(rows) // size
    return rows[rank * share : (rank + 1) * share]


def norm_of_rank(
    rank: int, size: int, shape: tuple[int, ...], layer: nn.Module
) -> dict[str, torch.Tensor]:
    """Output and gradients of a rank's rows, and the statistics after two batches."""
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(0.5, 2, 5))  # type: ignore[operator]
        layer.bias.copy_(torch.linspace(-1, 1, 5))  # type: ignore[operator]
    whole, weights = batch(shape)
    x = slice_of_rank(whole, rank, size).clone().requires_grad_()
    layer(2 * x.detach())
    output = layer(x)
    (output * slice_of_rank(weights, rank, size)).sum().backward()
    found = {"output": output.detach(), "x": x.grad, **layer.state_dict()}
    found |= {f"{name}.grad": parameter.grad for name, parameter in layer.named_parameters()}
    found["evaluated"] = layer.eval()(x).detach()
    return found


def work(rank: int, size: int) -> dict[str, Any]:
    """What the ranks of the tests do."""
    found: dict[str, Any] = {
        f"norm {shape}": norm_of_rank(rank, size, shape, GlobalBatchNorm(5)) for shape in SHAPES
    }
    rows = slice_of_rank(batch((12, 5))[0], rank, size).clone().requires_grad_()
    gathered = gather_rows(rows)
    scale = torch.arange(1.0, 1 + gathered.numel()).view_as(gathered)
    # Another loss on each rank: the gradient of rows is that of the sum of all losses.
    ((rank + 1) * scale * gathered).sum().backward()
    found["gathered"], found["gradient"] = gathered.detach(), rows.grad
    prepare_compiler()
    compiled = torch.compile(GlobalBatchNorm(5), backend="eager")
    found["compiled"] = norm_of_rank(rank, size, SHAPES[2], compiled)
    low = slice_of_rank(batch(SHAPES[2])[0], rank, size).bfloat16()
    found["low"] = GlobalBatchNorm(5)(low).detach()
    return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_on_ranks("test_global_batch", "work", tmp_path_factory.mktemp("ranks"))


def plain_norm(shape: tuple[int, ...]) -> nn.Module:
    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    return kinds[len(shape)](5)


@pytest.mark.parametrize("shape", SHAPES)
def test_one_rank_is_plain_batch_norm(shape: tuple[int, ...]) -> None:
    ours = norm_of_rank(0, 1, shape, GlobalBatchNorm(5))
    plain = norm_of_rank(0, 1, shape, plain_norm(shape))
    assert ours.keys() == plain.keys()
    for name in plain:
        assert torch.equal(ours[name], plain[name]), name


@pytest.mark.parametrize("shape", SHAPES)
def test_two_ranks_equal_one(ranks: list[dict[str, Any]], shape: tuple[int, ...]) -> None:
    one = norm_of_rank(0, 1, shape, GlobalBatchNorm(5))
    parts = [rank[f"norm {shape}"] for rank in ranks]
    for name in one:
        values = [part[name] for part in parts]
        if name in ("output", "evaluated", "x"):
            both = torch.cat(values)
        elif name.endswith(".grad"):  # summed or averaged by data parallelism
            both = values[0] + values[1]
        else:
            both = values[0]
            assert torch.equal(values[0], values[1]), name
        torch.testing.assert_close(both, one[name], rtol=1e-5, atol=1e-5, msg=name)


def test_compiled_and_bfloat16_on_two_ranks(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        plain, compiled = rank[f"norm {SHAPES[2]}"], rank["compiled"]
        torch.testing.assert_close(compiled["output"], plain["output"])
        torch.testing.assert_close(compiled["x"], plain["x"])
        assert rank["low"].dtype == torch.bfloat16
    both = torch.cat([rank["low"] for rank in ranks])
    whole = GlobalBatchNorm(5)(batch(SHAPES[2])[0].bfloat16())
    torch.testing.assert_close(both, whole, rtol=0.02, atol=0.02)


def test_rows_come_in_rank_order_with_all_gradients(ranks: list[dict[str, Any]]) -> None:
    whole = batch((12, 5))[0]
    scale = torch.arange(1.0, 1 + whole.numel()).view_as(whole)
    for number, rank in enumerate(ranks):
        assert torch.equal(rank["gathered"], whole)
        assert torch.equal(rank["gradient"], 3 * slice_of_rank(scale, number, 2))


def test_one_rank_gathers_its_own_rows() -> None:
    rows = torch.randn(4, 3)
    assert gather_rows(rows) is rows


def test_one_value_a_channel_has_no_statistics() -> None:
    with pytest.raises(ValueError, match="more than 1 value"):
        GlobalBatchNorm(5)(torch.zeros(1, 5))
