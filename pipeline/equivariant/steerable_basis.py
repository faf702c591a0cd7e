"""Smooth kernels: circular harmonics on Gaussian rings (Weiler and Cesa 2019, library e2cnn).

The models of Park et al. use that library's default basis. It bounds the angular frequency on
each ring, so that a 3x3 kernel between two regular fields of c4 has 24 weights of the 36 that
the lattice admits (d4: 48 of 72). A dilated kernel may have a higher frequency, as if it were
a large one; from dilation 4 on there are more weights than a kernel has free numbers, and
from 8 on no kernel reaches the corners. Weights of models are counted with these; kernels
that they span are the same as the library's.
"""

import itertools
import math
from functools import cache
from typing import NamedTuple

import torch

from pipeline.equivariant.irreps import Part, irreps, parts
from pipeline.equivariant.kernel_orbits import cell_places, kernel_orbits
from pipeline.groups.point_groups import point_group
from pipeline.groups.point_matrices import determinants

INNER_WIDTH, LAST_WIDTH, CENTRE_WIDTH = 0.6, 0.4, 0.005
ROUNDING = 1e-12
"""Of the numbers of a kernel of norm 1."""
VANISHING = 1e-15
"""Squared norm below which a sampled harmonic counts as zero everywhere."""


class KernelBasis(NamedTuple):
    """Basis of the kernels between one field and another.

    `rows` (num_weights, num_orbits) float64 are the kernels' free numbers, in the order of
    `kernel_orbits`; `spread` (num_weights,) is the standard deviation of each weight, before
    division by the square root of the number of input fields, that keeps variances.
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
    """The library's basis, each kernel of its norm, weights spread as there.

    ValueError where the library has no kernels (as of side 2).
    """
    orbits = kernel_orbits(group, input, output, kernel_size)
    # Where each orbit first appears, with sign 1, to read its number from a kernel.
    places = orbits.sign.flatten().nonzero()[:, 0]
    first = torch.full((orbits.num,), orbits.sign.numel())
    first.scatter_reduce_(0, orbits.orbit.flatten()[places], places, "amin")
    rows, pairs = [], []
    for source, target in itertools.product(parts(group, input), parts(group, output)):
        for kernel in _kernels_between(group, source, target, kernel_size, dilation):
            on_fibres = torch.einsum("oa,oiq,ib->abq", target.matrix, kernel, source.matrix)
            numbers = on_fibres.flatten()[first]
            # What sums of rounded products leave of 0 is not the same on every machine.
            rows.append(torch.where(numbers.abs() > ROUNDING, numbers, 0.0))
            pairs.append((source.name, target.name, target.copy))
    # Each irreducible part of the output takes equally much from each kind of input part.
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

    By the addition theorem: products and roots are the same on every machine, and what is 0 on
    the axes and diagonals is 0. At the centre all but frequency 0 vanish.
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

    Maps between planes begin with cos beside sin, so that they turn with the angle and
    none vanishes on the diagonals or axes of the lattice alone: the library's choice.
    """
    units = torch.eye(2 * num_out * num_in, dtype=torch.float64).view(-1, 2, num_out, num_in)
    if frequency == 0:
        return list(units[: num_out * num_in])
    if num_out < 2 or num_in < 2:
        return list(units)
    cosines, sines = units[:4], units[4:].flip(-2)
    return [cos + sign * sin for cos, sin in zip(cosines, sines, strict=True) for sign in (1, -1)]


def _turned_waves(group: str, frequency: int) -> torch.Tensor:
    """(|G|, 2, 2): what cos and sin of frequency times (g angle) are in cos and sin of the angle.

    [g, v, w]: the wave w at the turned angle has that much of the wave v.
    """
    found = []
    matrices = point_group(group).matrices
    for matrix, way in zip(matrices, determinants(matrices).tolist(), strict=True):
        # The first column is the image of angle 0; a mirror image runs backwards from it.
        start = complex(*matrix[:, 0].tolist()) ** (frequency % 4)
        cos, sin = start.real, start.imag
        found.append(((cos, sin), (-way * sin, way * cos)))
    return torch.tensor(found, dtype=torch.float64)
