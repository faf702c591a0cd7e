"""The representations of c4 and d4 by which fibres move."""

from functools import cache

import torch

from pipeline.groups import point_matrices
from pipeline.groups.point_groups import PointGroup, point_group

GROUPS = ("c4", "d4")
ORDERS = {"c4": 4, "d4": 8}
PERMUTATIONS = ("trivial", "quotient", "regular")
"""Representations that move the values of a fibre and compute nothing: ReLU and norms suit them."""
SIGNED = ("sign", "standard")
"""Representations that also change signs of values."""
REPRESENTATIONS = (*PERMUTATIONS, *SIGNED)


def representation_size(group: str, representation: str) -> int:
    """Number of values of a fibre; ValueError for an unknown group or representation."""
    check_representation(group, representation)
    sizes = {"quotient": 2, "standard": 2, "regular": ORDERS[group]}
    return sizes.get(representation, 1)


def representation_matrices(group: str, representation: str) -> torch.Tensor:
    """Orthogonal matrices (|G|, size, size), float64, of all elements in order.

    `trivial`: 1. `sign`: for d4 -1 on mirrors, for c4 -1 on odd turns. `quotient`: two values
    exchanged where the sign is -1 (functions on d4/c4, or on c4/c2). `regular`: the value of
    h becomes that of h g. `standard`: the plane itself, columns (x, y) with y upwards.
    ValueError for an unknown group or representation.
    """
    check_representation(group, representation)
    if representation == "sign":
        return signs(group).to(torch.float64).view(-1, 1, 1)
    if representation == "standard":
        return point_group(group).matrices.to(torch.float64)
    places = moved_places(group, representation)
    return torch.nn.functional.one_hot(places, places.shape[1]).to(torch.float64)


@cache
def moved_places(group: str, representation: str) -> torch.Tensor:
    """Where each value of a moved fibre comes from: (rho(g) x)_a = sign[g, a] x[table[g, a]].

    The table is (|G|, size) int64; for the signs see `moved_signs`.
    """
    elements = point_group(group)
    if representation == "trivial":
        return torch.zeros(elements.num_elements, 1, dtype=torch.int64)
    if representation == "quotient":
        is_odd = (signs(group) < 0).to(torch.int64)
        return torch.stack((is_odd, 1 - is_odd), 1)
    if representation == "regular":
        return products(group).T.contiguous()
    return representation_matrices(group, representation).abs().argmax(-1)


@cache
def moved_signs(group: str, representation: str) -> torch.Tensor:
    """The sign with which each value of a moved fibre arrives, (|G|, size) int64: 1 or -1."""
    if representation in SIGNED:
        return representation_matrices(group, representation).sum(-1).to(torch.int64)
    return torch.ones_like(moved_places(group, representation))


@cache
def products(group: str) -> torch.Tensor:
    """Multiplication table (|G|, |G|) int64: `table[g, h]` is g h, first h, then g."""
    return point_matrices.products(_elements(group).matrices)


@cache
def inverses(group: str) -> torch.Tensor:
    """The inverse of each element, (|G|,) int64."""
    return point_matrices.inverses(_elements(group).matrices)


def signs(group: str) -> torch.Tensor:
    """+1 or -1 of each element, (|G|,) int64; see `representation_matrices`."""
    matrices = _elements(group).matrices
    if group == "d4":
        return point_matrices.determinants(matrices)
    return 1 - 2 * matrices[:, 0, 1].abs()


def check_group(group: str) -> None:
    """ValueError unless layers exist for this group."""
    if group not in GROUPS:
        raise ValueError(f"no layers for group {group!r}; there are some for {', '.join(GROUPS)}")


def check_representation(group: str, representation: str) -> None:
    """ValueError for an unknown group or representation."""
    check_group(group)
    if representation not in REPRESENTATIONS:
        known = ", ".join(REPRESENTATIONS)
        raise ValueError(f"unknown representation {representation!r}; known: {known}")


def _elements(group: str) -> PointGroup:
    check_group(group)
    return point_group(group)
