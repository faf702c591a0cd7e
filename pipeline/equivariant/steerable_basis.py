"""Bases of kernels that commute with a point group.

Fibres are split into irreducible parts, cells of a kernel into orbits; a basis combines both.

A kernel maps fibres b at position p + q to fibres a at p: y_a(p) = sum K_{ab}(q) x_b(p + q). It
commutes with the group if K_{ag, bg}(q) = K_{ab}(g q), so a kernel has one free number for each
orbit of triples (a, b, q) under (a, b, q) -> (a g, b g, g^-1 q). If representations have signs, the
numbers of an orbit agree up to sign, and some must be 0.

(Released code of Park et al., "orbit stack".)

The models of Park et al. use the default basis of e2cnn ("the library"). It bounds the angular
frequency on each ring, so that a 3x3 kernel between two regular fields of c4 has 24 weights of the
36 that the lattice admits (d4: 48 of 72). A dilated kernel may have a higher frequency, like a
large kernel; from dilation 4 on there are more weights than free numbers of a kernel, and from 8 on
no kernel reaches the corners. The numbers of weights and the spanned kernels are those of the
library.
"""

import itertools
import math
from functools import cache
from typing import NamedTuple

import torch

from orbit.core.groups.point_groups import determinants, irrep_tables, point_group
from pipeline.equivariant.fields import (
    SIGNED,
    check_representation,
    inverses,
    moved_places,
    moved_signs,
    representation_matrices,
    signs,
)


class Part(NamedTuple):
    """One irreducible part of a fibre: `matrix` @ fibre transforms by the irrep `name`.

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
    """The number of copies of a real irrep in a regular fibre.

    Its size, except for the rotation of c4, which is of complex type and occurs once.
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


class KernelOrbits(NamedTuple):
    """`orbit` and `sign` of each number of a kernel, (output size, input size, k, k) int64 each.

    A number is its orbit's free number times 1 or -1, or 0 if an element maps it to its own
    negative. Orbits are numbered in the order in which they appear, `num` of them.
    """

    orbit: torch.Tensor
    sign: torch.Tensor
    num: int


@cache
def kernel_orbits(group: str, input: str, output: str, kernel_size: int) -> KernelOrbits:
    """The orbits of a kernel's numbers. Between regular fibres, orbit m k^2 + u holds cell u of the
    map from fibre value m to fibre value 0. ValueError if the only kernel is 0."""
    out_places, in_places = moved_places(group, output), moved_places(group, input)
    out_signs, in_signs = moved_signs(group, output), moved_signs(group, input)
    cells = turned_cells(group, kernel_size)[inverses(group)]
    num_out, num_in, num_cells = out_places.shape[1], in_places.shape[1], cells.shape[1]
    # (|G|, a, b, q): the triple to which each element moves each triple, and the sign.
    taken = out_places[:, :, None, None] * num_in + in_places[:, None, :, None]
    taken = (taken * num_cells + cells[:, None, None, :]).flatten(1)
    signs = (out_signs[:, :, None] * in_signs[:, None, :])[..., None].expand(-1, -1, -1, num_cells)
    first = taken.amin(0)
    at_first = (taken == first) * signs.flatten(1)
    # 0 if elements that lead to the same triple disagree.
    sign = (at_first > 0).any(0).to(torch.int64) - (at_first < 0).any(0).to(torch.int64)
    if not sign.any():
        raise ValueError(f"no kernel of side {kernel_size} leads from {input} to {output} fibres")
    kept = torch.unique(first[sign != 0])
    orbit = torch.searchsorted(kept, first).clamp_max(len(kept) - 1)
    shape = (num_out, num_in, kernel_size, kernel_size)
    return KernelOrbits(orbit.view(shape), sign.view(shape), len(kept))


@cache
def turned_cells(group: str, size: int) -> torch.Tensor:
    """For each cell of a size x size array the cell to which it moves, (|G|, size^2) int64, row by
    row.

    Rows of an array run downwards, y upwards.
    """
    x, y = cell_places(size)
    turned = torch.einsum("gij,jn->gin", point_group(group).matrices, torch.stack((x, y)))
    # In half cells, so that the distances for even sides are integers too.
    column, row = (turned[:, 0] + size - 1) // 2, (size - 1 - turned[:, 1]) // 2
    return row * size + column


def cell_places(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y of each cell of an array from its centre, in half cells, (size^2,) int64 each."""
    along = 2 * torch.arange(size) - (size - 1)
    y, x = torch.meshgrid(-along, along, indexing="ij")
    return x.flatten(), y.flatten()


def num_orbits(size: int) -> int:
    """Number of orbits of quarter turns on a size x size map.

    (size / 2)^2 for an even size, else 1 + c + c^2 with c = (size - 1) / 2: the centre, whose
    four values are the same, and a quadrant of c rows and c + 1 columns.
    """
    half = size // 2
    return half * half if size % 2 == 0 else 1 + half * (half + 1)


def orbit_stack(maps: torch.Tensor) -> torch.Tensor:
    """Square maps (..., S, S) to regular c4 fibres (..., 4, num_orbits(S)).

    Value h of a fibre is read from the map after h quarter turns, so that a turn of the map moves
    the fibre by the regular representation. Values are only moved. ValueError unless the maps are
    square.
    """
    size = maps.shape[-1]
    if maps.shape[-2] != size:
        raise ValueError(f"orbits of quarter turns need square maps, not {tuple(maps.shape[-2:])}")
    turned = torch.stack([maps.rot90(turns, (-2, -1)) for turns in range(4)], -3)
    half = size // 2
    if size % 2 == 0:
        return turned[..., :half, :half].flatten(-2)
    quadrant = turned[..., :half, : half + 1].flatten(-2)
    return torch.cat((quadrant, turned[..., half, half, None]), -1)


INNER_WIDTH, LAST_WIDTH, CENTRE_WIDTH = 0.6, 0.4, 0.005
ROUNDING = 1e-12
"""Rounding error of the numbers of a kernel of norm 1."""
VANISHING = 1e-15
"""Squared norm below which a sampled harmonic counts as zero everywhere."""


class KernelBasis(NamedTuple):
    """Basis of the kernels between one field and another.

    `rows` (num_weights, num_orbits) float64 are the kernels' free numbers, in the order of
    `kernel_orbits`; `spread` (num_weights,) is the standard deviation of each weight that preserves
    variances, before division by the square root of the number of input fields.
    """

    rows: torch.Tensor
    spread: torch.Tensor


@cache
def lattice_basis(group: str, input: str, output: str, kernel_size: int) -> KernelBasis:
    """All equivariant kernels: a weight for each free number."""
    orbits = kernel_orbits(group, input, output, kernel_size)
    num_inputs = int(orbits.sign.abs().sum()) / len(orbits.sign)
    spread = torch.full((orbits.num,), 1 / math.sqrt(num_inputs), dtype=torch.float64)
    return KernelBasis(torch.eye(orbits.num, dtype=torch.float64), spread)


@cache
def steerable_basis(
    group: str, input: str, output: str, kernel_size: int, dilation: int = 1
) -> KernelBasis:
    """The library's basis, with its norms and standard deviations of weights.

    ValueError if the library has no kernels (for example of side 2).
    """
    orbits = kernel_orbits(group, input, output, kernel_size)
    # The first position of each orbit, with sign 1, at which its number is read from a kernel.
    places = orbits.sign.flatten().nonzero()[:, 0]
    first = torch.full((orbits.num,), orbits.sign.numel())
    first.scatter_reduce_(0, orbits.orbit.flatten()[places], places, "amin")
    rows, pairs = [], []
    for source, target in itertools.product(parts(group, input), parts(group, output)):
        for kernel in _kernels_between(group, source, target, kernel_size, dilation):
            on_fibres = torch.einsum("oa,oiq,ib->abq", target.matrix, kernel, source.matrix)
            numbers = on_fibres.flatten()[first]
            # Rounding errors instead of 0 would differ between machines.
            rows.append(torch.where(numbers.abs() > ROUNDING, numbers, 0.0))
            pairs.append((source.name, target.name, target.copy))
    # Each irreducible part of the output gets the same variance from each kind of input part.
    num_kinds = {pair[1:]: len({p[0] for p in pairs if p[1:] == pair[1:]}) for pair in pairs}
    spread = [1 / math.sqrt(num_kinds[pair[1:]] * pairs.count(pair)) for pair in pairs]
    if not rows:
        raise ValueError(
            f"no smooth kernel of side {kernel_size} leads from {input} to {output} fibres:"
            " use basis='lattice'"
        )
    return KernelBasis(torch.stack(rows), torch.tensor(spread, dtype=torch.float64))


def _kernels_between(
    group: str, source: Part, target: Part, kernel_size: int, dilation: int
) -> list[torch.Tensor]:
    """Kernels (target size, source size, cells) from one irreducible part to another."""
    x, y = cell_places(kernel_size)
    radius = (x.square() + y.square()).to(torch.float64).sqrt() / 2 * dilation
    num_rings = (kernel_size + 1) // 2
    kernels = []
    for ring in range(num_rings):
        width = LAST_WIDTH if ring == num_rings - 1 else INNER_WIDTH
        width = CENTRE_WIDTH if ring == 0 else width
        profile = torch.exp(-((radius - ring * dilation) ** 2) / (2 * width**2))
        for frequency in range(_max_frequency(ring * dilation, kernel_size // 2) + 1):
            waves = _waves(kernel_size, frequency)
            for pair in _harmonics(group, source.name, target.name, frequency):
                kernel = torch.einsum("woi,wq->oiq", pair, waves * profile)
                norm = kernel.square().sum() / len(kernel)
                if norm > VANISHING:
                    kernels.append(kernel / norm.sqrt())
    return kernels


@cache
def _waves(kernel_size: int, frequency: int) -> torch.Tensor:
    """cos and sin of frequency times the angles of a kernel's cells, (2, cells) float64.

    By the addition theorem, so that results are the same on every machine and zeros on the axes and
    diagonals are exact. At the centre only frequency 0 does not vanish.
    """
    x, y = cell_places(kernel_size)
    length = (x.square() + y.square()).to(torch.float64).sqrt().clamp_min(1)
    if frequency == 0:
        return torch.stack((torch.ones_like(length), torch.zeros_like(length)))
    cos, sin = _waves(kernel_size, frequency - 1)
    return torch.stack(((cos * x - sin * y) / length, (sin * x + cos * y) / length))


def _max_frequency(radius: int, rim: int) -> int:
    if radius == 0:
        return 0
    return 2 if radius == rim else 2 * radius - (radius + 1) % 2


@cache
def _harmonics(group: str, source: str, target: str, frequency: int) -> list[torch.Tensor]:
    """Pairs (A, B), each (2, target size, source size), of equivariant A cos + B sin.

    The kernel K(angle) = A cos(frequency angle) + B sin(frequency angle) has
    K(g angle) = D_target(g) K(angle) D_source(g)^-1.
    """
    before, after = irreps(group)[source], irreps(group)[target]
    turned = _turned_waves(group, frequency)
    found: list[torch.Tensor] = []
    for start in _starts(after.shape[-1], before.shape[-1], frequency):
        # The mean over the group of D(g)^-1 start(g angle) D(g), orthogonal to those before.
        pair = torch.einsum("goa,gvw,woi,gij->vaj", after, turned, start, before) / len(after)
        for other in found:
            pair = pair - (pair * other).sum() * other
        if pair.norm() > 1e-6:
            found.append(pair / pair.norm())
    return found


def _starts(num_out: int, num_in: int, frequency: int) -> list[torch.Tensor]:
    """Pairs (A, B) that span all, (2, num_out, num_in) each.

    Maps between planes combine cos and sin, so that they turn with the angle and none vanishes only
    on the diagonals or axes of the lattice, as in the library.
    """
    units = torch.eye(2 * num_out * num_in, dtype=torch.float64).view(-1, 2, num_out, num_in)
    if frequency == 0:
        return list(units[: num_out * num_in])
    if num_out < 2 or num_in < 2:
        return list(units)
    cosines, sines = units[:4], units[4:].flip(-2)
    return [cos + sign * sin for cos, sin in zip(cosines, sines, strict=True) for sign in (1, -1)]


def _turned_waves(group: str, frequency: int) -> torch.Tensor:
    """(|G|, 2, 2): cos and sin of frequency times (g angle), in terms of cos and sin of the angle.

    [g, v, w] is the coefficient of wave v in wave w at the turned angle.
    """
    found = []
    matrices = point_group(group).matrices
    for matrix, way in zip(matrices, determinants(matrices).tolist(), strict=True):
        # The first column is the image of angle 0; a mirror image runs backwards from it.
        start = complex(*matrix[:, 0].tolist()) ** (frequency % 4)
        cos, sin = start.real, start.imag
        found.append(((cos, sin), (-way * sin, way * cos)))
    return torch.tensor(found, dtype=torch.float64)
