"""Tables of groups, representations and bases are the same on every processor.

Matrix libraries and vector mathematics round as the processor's instructions suggest: where one
gives 0, another gives 2.5e-17. So everything here is made a second time by rounded operations,
and must come out as before: bit for bit what has a closed form, up to rounding what has not.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from orbit.core.groups import point_groups
from orbit.core.groups.irreps import rotation_generators
from orbit.core.groups.point_groups import irrep_tables
from pipeline.equivariant import fourier as fourier_tables
from pipeline.equivariant import steerable_basis
from pipeline.equivariant import steerable_basis as irreps
from pipeline.equivariant import steerable_basis as kernel_orbits
from pipeline.equivariant.fields import REPRESENTATIONS

ROUNDED = {
    *("matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "einsum", "tensordot", "det"),
    *("linalg_det", "linalg_svd", "linalg_eigh", "linalg_qr", "linalg_inv", "linalg_norm"),
    *("cos", "sin", "atan2", "arctan2", "acos", "arccos", "exp", "norm"),
}
POINT_GROUPS = ("c4", "d4", "octahedral", "wrap1d", "wrap2d", "wrap3d")
CACHED = (
    point_groups.point_group,
    irreps.irreps,
    irreps.parts,
    kernel_orbits.kernel_orbits,
    steerable_basis.steerable_basis,
    steerable_basis._harmonics,
    steerable_basis._waves,
    fourier_tables.fourier_tables,
)


class OtherProcessor(TorchFunctionMode):
    """Results of library operations in floating point are a little off, also where they are 0."""

    def __init__(self) -> None:
        super().__init__()
        self._draws = torch.Generator().manual_seed(0)

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if getattr(function, "__name__", "") not in ROUNDED:
            return result
        if isinstance(result, torch.Tensor):
            return self._rounded(result)
        return type(result)([self._rounded(part) for part in result])

    def _rounded(self, x: torch.Tensor) -> torch.Tensor:
        if not x.is_floating_point():
            return x
        noise = torch.rand(x.shape, generator=self._draws, dtype=x.dtype) - 0.5
        return x + noise * torch.finfo(x.dtype).eps * x.abs().clamp_min(0.25)


def made_elsewhere(make: Callable[[], Any]) -> tuple[Any, Any]:
    """What is made here, and what a processor with other rounding makes."""
    found = []
    for where in (None, OtherProcessor()):
        for function in CACHED:
            function.cache_clear()
        if where is None:
            found.append(make())
        else:
            with where:
                found.append(make())
    for function in CACHED:
        function.cache_clear()
    return found[0], found[1]


def test_another_processor_is_told_apart() -> None:
    """The test's own tool: products of roots are not what they were."""
    root = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64) / 2**0.5
    here, there = made_elsewhere(lambda: root @ root)
    assert not torch.equal(here, there)
    assert torch.allclose(here, there, rtol=0, atol=1e-15)


@pytest.mark.parametrize("group", POINT_GROUPS)
def test_tables_of_point_groups_are_exact(group: str) -> None:
    def tables() -> dict[str, torch.Tensor]:
        point = point_groups.point_group(group)
        return point.tables() | irrep_tables(group, point.matrices)

    here, there = made_elsewhere(tables)
    for name, table in here.items():
        assert torch.equal(table, there[name]), name


def test_matrices_of_the_cube_s_plane_hold_whole_and_half_numbers_and_a_root() -> None:
    plane = irrep_tables("octahedral", point_groups.point_group("octahedral").matrices)["E"]
    root = 0.75**0.5
    assert set(plane.double().abs().unique().tolist()) == {
        *(0.0, 0.5, 1.0),
        float(torch.tensor(root)),
    }
    assert torch.equal(plane[0], torch.eye(2))


@pytest.mark.parametrize("degree", [1, 2, 3, 8])
def test_generators_of_rotations_are_exact(degree: int) -> None:
    """Their squares are quarters of whole numbers, and most are exactly 0."""
    here, there = made_elsewhere(lambda: rotation_generators(degree))
    assert torch.equal(here, there)
    quarters = 4 * here.square()
    assert torch.equal(here.abs(), quarters.round().sqrt() / 2)
    assert (here != 0).sum(dim=(1, 2)).tolist() == [4 * degree - 2, 4 * degree - 2, 2 * degree]


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("group", ["c4", "d4"])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_smooth_kernels_are_the_same_in_the_same_order(
    group: str, representation: str, size: int
) -> None:
    """And zeros are zeros: weights of a checkpoint mean the same everywhere."""

    def rows() -> torch.Tensor:
        return steerable_basis.steerable_basis(group, representation, "regular", size).rows

    here, there = made_elsewhere(rows)
    assert torch.equal(here == 0, there == 0)
    torch.testing.assert_close(here, there, rtol=0, atol=1e-12)


@pytest.mark.parametrize("basis", ["lattice", "steerable"])
@pytest.mark.parametrize("group", ["c4", "d4"])
@pytest.mark.parametrize("size", [3, 5])
def test_tables_of_the_fourier_form_are_the_same(group: str, basis: str, size: int) -> None:
    here, there = made_elsewhere(lambda: fourier_tables.fourier_tables(group, size, basis, 1))
    assert here[:2] == there[:2]
    for mine, other in zip(here[2:], there[2:], strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)
