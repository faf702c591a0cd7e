"""Irreducible parts of fibres."""

import math
from functools import cache
from typing import NamedTuple

import torch

from pipeline.equivariant.representations import (
    SIGNED,
    check_representation,
    inverses,
    representation_matrices,
    signs,
)
from pipeline.groups.irreps_finite import irrep_tables
from pipeline.groups.point_groups import point_group


class Part(NamedTuple):
    """One irreducible part of a fibre: part @ fibre moves by the irrep `name`.

    `matrix` (size, fibre), orthonormal rows, float64.
    """

    name: str
    copy: int
    matrix: torch.Tensor


@cache
def irreps(group: str) -> dict[str, torch.Tensor]:
    """Orthogonal matrices (|G|, d, d) float64 of the real irreps of c4 or d4, trivial first."""
    tables = irrep_tables(group, point_group(group).matrices)
    return {name: table.to(torch.float64) for name, table in tables.items()}


@cache
def num_copies(group: str, irrep: str) -> int:
    """How often a real irrep is part of a regular fibre.

    As often as its size, except for the rotation of c4, whose two copies are one: it is of
    complex type.
    """
    return 1 if group == "c4" else irreps(group)[irrep].shape[-1]


@cache
def parts(group: str, representation: str) -> tuple[Part, ...]:
    """The irreducible parts of a fibre, all rows orthonormal."""
    check_representation(group, representation)
    names = list(irreps(group))
    num = point_group(group).num_elements
    if representation == "trivial":
        return (Part(names[0], 0, torch.ones(1, 1, dtype=torch.float64)),)
    if representation in SIGNED:
        own = representation_matrices(group, representation)
        own_name = next(name for name in names if torch.equal(irreps(group)[name], own))
        return (Part(own_name, 0, torch.eye(own.shape[-1], dtype=torch.float64)),)
    if representation == "quotient":
        row = torch.ones(1, 2, dtype=torch.float64) / math.sqrt(2)
        odd = row * torch.tensor([1.0, -1.0], dtype=torch.float64)
        sign = signs(group).to(torch.float64).view(-1, 1, 1)
        sign_name = next(name for name in names if torch.equal(irreps(group)[name], sign))
        return Part(names[0], 0, row), Part(sign_name, 0, odd)
    back = inverses(group)
    found = []
    for name, matrices in irreps(group).items():
        # Columns of sum_h x_h D(h^-1) move by D, whatever x.
        columns = matrices[back] * math.sqrt(matrices.shape[-1] / num)
        found += [
            Part(name, copy, columns[:, :, copy].T.contiguous())
            for copy in range(num_copies(group, name))
        ]
    return tuple(found)
