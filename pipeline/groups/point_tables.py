"""Tables of point groups and of their representations, kept on each device that asks.

A copy from the host at every step would make the host wait for the device; for
`torch.compile` a table is a constant, chosen by names that it can compare.
"""

from collections.abc import Callable
from functools import cache, partial

import torch

from pipeline.groups.constants import constant_to_compiler
from pipeline.groups.interface import Irrep
from pipeline.groups.irreps_finite import irrep_tables
from pipeline.groups.point_groups import point_group

TableLookUp = Callable[[str, torch.device], torch.Tensor]


def point_table(group: str, table: str, device: torch.device) -> torch.Tensor:
    """A table of `PointGroup.tables` or, as "irrep NAME", the matrices of a representation."""
    return _on_device(group, table, device)


def table_look_up(table: str) -> TableLookUp:
    """`point_table` of one table, (group, device) to tensor, a constant to the compiler.

    The compiler names a constant by the code that made it, and refuses two of one name in
    a graph: the code of each table has a name of its own.
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
