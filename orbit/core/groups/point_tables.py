"""Multiplication tables of point groups, and their real irreducible representations.

Tables stay on the device, because a copy from the host in every step would make the host wait for
the device. For `torch.compile` a table is a constant, identified by names that it can compare.
"""

import math
from collections.abc import Callable
from functools import cache, partial

import torch

from orbit.core.groups import point_groups as point_matrices
from orbit.core.groups.interface import Irrep, constant_to_compiler
from orbit.core.groups.point_groups import point_group


def irrep_tables(group: str, matrices: torch.Tensor) -> dict[str, torch.Tensor]:
    """Orthogonal matrices (K, size, size) float32 by name, trivial first.

    `matrices` (K, k, k) int64 are the group's elements. Empty for a group other than
    `c4`, `d4` and `octahedral`.
    """
    tables = {"c4": _cyclic, "d4": _dihedral, "octahedral": _octahedral}.get(group)
    return tables(matrices) if tables else {}


def _cyclic(matrices: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "trivial": torch.ones(4, 1, 1),
        "sign": _swaps_axes(matrices),
        "rotation": matrices.to(torch.float32),
    }


def _dihedral(matrices: torch.Tensor) -> dict[str, torch.Tensor]:
    """B1 is +1 for mirrors along the axes of the lattice, B2 for those along its diagonals."""
    mirror = _one_dimensional(point_matrices.determinants(matrices))
    swap = _swaps_axes(matrices)
    return {
        "A1": torch.ones(8, 1, 1),
        "A2": mirror,
        "B1": swap,
        "B2": swap * mirror,
        "E": matrices.to(torch.float32),
    }


def _octahedral(matrices: torch.Tensor) -> dict[str, torch.Tensor]:
    """A2 is the parity of the permutation of the axes, E is this permutation on the plane x+y+z =
    0."""
    permutations = matrices.abs()
    parity = _one_dimensional(point_matrices.determinants(permutations))
    # Integers up to the lengths of these axes: the same bits on every machine.
    plane = torch.tensor([[1, -1, 0], [1, 1, -2]])
    between = math.sqrt(2 * 6)
    lengths = torch.tensor([[2.0, between], [between, 6.0]], dtype=torch.float64)
    turned = (plane @ permutations @ plane.T) / lengths
    return {
        "A1": torch.ones(24, 1, 1),
        "A2": parity,
        "E": turned.to(torch.float32),
        "T1": matrices.to(torch.float32),
        "T2": matrices * parity,
    }


def _swaps_axes(matrices: torch.Tensor) -> torch.Tensor:
    """-1 if x and y are exchanged, else +1."""
    return _one_dimensional(1 - 2 * matrices[:, 0, 1].abs())


def _one_dimensional(values: torch.Tensor) -> torch.Tensor:
    return values.to(torch.float32)[:, None, None]


TableLookUp = Callable[[str, torch.device], torch.Tensor]


def table_look_up(table: str) -> TableLookUp:
    """A table of `PointGroup.tables` or, as "irrep NAME", the matrices of a representation:
    (group, device) to tensor, a constant to the compiler.

    The compiler names a constant after the function that made it, and refuses two constants of one
    name in a graph, so each table has a function with its own name.
    """

    def look_up(group: str, device: torch.device) -> torch.Tensor:
        return _on_device(group, table, device)

    name = f"look_up_{table.replace(' ', '_')}"
    look_up.__code__ = look_up.__code__.replace(co_name=name, co_qualname=name)
    return constant_to_compiler(look_up)


@cache
def _on_device(group: str, table: str, device: torch.device) -> torch.Tensor:
    # A tensor born in inference mode could later not take part in training.
    with torch.inference_mode(False):
        return _tables(group)[table].to(device, copy=True)


@cache
def _tables(group: str) -> dict[str, torch.Tensor]:
    irreps = irrep_tables(group, point_group(group).matrices)
    return point_group(group).tables() | {f"irrep {name}": irreps[name] for name in irreps}


def point_irreps(group: str) -> tuple[Irrep, ...]:
    """The irreducible representations of `c4`, `d4` or `octahedral`, trivial first."""
    tables = irrep_tables(group, point_group(group).matrices)
    return tuple(
        Irrep(name, table.shape[-1], partial(_matrices, table_look_up(f"irrep {name}"), group))
        for name, table in tables.items()
    )


def _matrices(look_up: TableLookUp, group: str, g: torch.Tensor) -> torch.Tensor:
    return look_up(group, g.device)[g]
