"""Real irreducible representations: those of SO(2) and SO(3); splitting into irreducible ones.

Rotations are exponentials of exact generators. `torch.matrix_exp` reads the norms of its arguments
from a GPU and so waits for it. Here the work does not depend on values: halve `NUM_SQUARINGS`
times, a Taylor polynomial, square again. In float64 exact to 1e-10 up to a norm of 30, to 1e-5 up
to 64.

How a representation of a finite group is split: for its matrices R(g), and D(g) of an irreducible
one of size d, the operators

    P_kl = d / |G| sum over g of D(g)_kl R(g)

map the l-th coordinate of a copy of D in R to its k-th one and everything else to 0 (Serre, Linear
Representations of Finite Groups, 2.7; for real D that stay irreducible over the complex numbers).
The rotation of c4 does not: it is of complex type, a turn of its plane commutes with it, and P_00
keeps a whole copy. P_k0 still maps any vector there to its k-th partner.

With the character chi(g) = trace D(g) and m = 1 / |G| sum over g of chi(g)^2, which is 1, or 2
for complex type,

    P = d / (m |G|) sum over g of chi(g) R(g)

is the projection onto all copies of D together.
"""

import math
from collections.abc import Sequence
from functools import cache, partial
from typing import NamedTuple

import torch

from orbit.core.groups import quaternions
from orbit.core.groups.interface import Irrep, constant_to_compiler

NUM_SQUARINGS = 5
DEGREE = 12


def antisymmetric_exponential(x: torch.Tensor) -> torch.Tensor:
    """exp of antisymmetric matrices (..., n, n): rotations, of the same dtype."""
    with torch.autocast(x.device.type, enabled=False):
        identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        scaled = x / 2**NUM_SQUARINGS
        result: torch.Tensor = identity + scaled / DEGREE
        for term in range(DEGREE - 1, 0, -1):
            result = identity + scaled @ result / term
        for _ in range(NUM_SQUARINGS):
            result = result @ result
    return result


def planar_irreps(max_frequency: int) -> tuple[Irrep, ...]:
    """Trivial, and the rotation by f times the angle for f = 1 to `max_frequency`."""
    _check(max_frequency)
    turning = range(1, max_frequency + 1)
    return (
        Irrep("trivial", 1, _trivial),
        *(Irrep(f"frequency {f}", 2, partial(planar_matrix, f)) for f in turning),
    )


def planar_matrix(frequency: int, angle: torch.Tensor) -> torch.Tensor:
    """Rotations of the plane by `frequency` times the angles (N,) in radians, (N, 2, 2)."""
    cosine, sine = (frequency * angle).cos(), (frequency * angle).sin()
    return torch.stack((cosine, -sine, sine, cosine), -1).view(-1, 2, 2)


def space_irreps(max_degree: int) -> tuple[Irrep, ...]:
    """Degrees l = 0 to `max_degree`, of size 2l + 1, on real spherical harmonics.

    The basis is ordered m = -l to l: that of degree 1 is (y, z, x).
    """
    _check(max_degree)
    degrees = range(1, max_degree + 1)
    return (
        Irrep("trivial", 1, _trivial),
        *(Irrep(f"degree {n}", 2 * n + 1, partial(space_matrix, n)) for n in degrees),
    )


def space_matrix(degree: int, q: torch.Tensor) -> torch.Tensor:
    """The representation of a degree at unit quaternions (N, 4), (N, 2l + 1, 2l + 1).

    exp(v . X) of the rotation vector v and the generators X of turns about x, y and z.
    """
    generators: torch.Tensor = _generators(degree, q.device).to(q.dtype)
    vector = quaternions.rotation_vector(q)
    exponent = (vector[:, :, None, None] * generators).sum(1)
    return antisymmetric_exponential(exponent)


@constant_to_compiler
def _generators(degree: int, device: torch.device) -> torch.Tensor:
    return _generators_on(degree, device)


@cache
def _generators_on(degree: int, device: torch.device) -> torch.Tensor:
    # A tensor created in inference mode could not be used in training later.
    with torch.inference_mode(False):
        return rotation_generators(degree).to(device)


def rotation_generators(degree: int) -> torch.Tensor:
    """Antisymmetric generators of turns about x, y and z, (3, 2l + 1, 2l + 1) float64.

    The angular momentum matrices of degree l, in the basis of real spherical harmonics. They
    consist of orders m and roots of integers, written out, so that all zeros are exact on every
    machine.
    """
    middle = degree  # the position of m = 0
    x, y, z = halves = torch.zeros(3, 2 * degree + 1, 2 * degree + 1, dtype=torch.float64)
    for m in range(1, degree + 1):
        z[middle - m, middle + m] = m
    for m in range(degree):
        step = math.sqrt((degree - m) * (degree + m + 1)) / 2
        if m == 0:
            step = math.sqrt(degree * (degree + 1) / 2)
        x[middle - m - 1, middle + m] = -step
        y[middle + m, middle + m + 1] = -step
        if m > 0:
            x[middle - m, middle + m + 1] = -step
            y[middle - m - 1, middle - m] = step
    return halves - halves.mT


def _trivial(g: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(g), 1, 1, dtype=g.dtype, device=g.device)


def _check(max_frequency: int) -> None:
    if max_frequency < 0:
        raise ValueError(f"the highest frequency of a representation is {max_frequency}, below 0")


TOLERANCE = 1e-6


class Copy(NamedTuple):
    """One copy of an irreducible representation: `rows` (d, n) with orthonormal rows take a
    vector of the representation to its d coordinates there."""

    name: str
    rows: torch.Tensor


def copies_of_irreps(
    irreps: Sequence[Irrep], elements: torch.Tensor, matrices: torch.Tensor
) -> list[Copy]:
    """The copies that orthogonal matrices (K, n, n) of all elements (K, ...) hold.

    Their rows together are an orthonormal basis, float64. Raises ValueError if they are not,
    because the matrices are not a representation or the irreps are not all of the group's.
    """
    matrices = matrices.double()
    copies: list[Copy] = []
    for irrep in irreps:
        d = irrep.matrix(elements).double()
        operators = torch.einsum("gk,gij->kij", d[:, :, 0], matrices) * irrep.size / len(elements)
        copies += [Copy(irrep.name, rows) for rows in _copies(operators)]
    basis = torch.cat([copy.rows for copy in copies]) if copies else matrices[0, :0]
    identity = torch.eye(matrices.shape[1], dtype=torch.float64)
    if basis.shape != identity.shape or (basis @ basis.T - identity).abs().max() > TOLERANCE:
        raise ValueError("these matrices do not split into the given irreps")
    return copies


def _copies(operators: torch.Tensor) -> list[torch.Tensor]:
    """Rows (d, n) of each copy, from the operators P_k0 (d, n, n), by Gram-Schmidt on the columns
    of P_00 from the left, so that they are the same on every machine."""
    found: list[torch.Tensor] = []
    for column in operators[0].T:
        rest = column.clone()
        for rows in found:
            rest -= rows.T @ (rows @ rest)
        if rest.norm() > 1e-3:
            found.append(operators @ (rest / rest.norm()))
    return found


def isotypic_shares(
    irreps: Sequence[Irrep], elements: torch.Tensor, correlations: torch.Tensor
) -> dict[str, float]:
    """For each irrep, the share of the mean squared norm of vectors x that lies in all its copies.

    `correlations` (K,) are the means of x . R(g) x for all elements (K, ...) of a group, the
    identity first; they are enough, since |P x|^2 = x . P x. The shares sum to 1 if the irreps
    are all of the group's and R is orthogonal. Empty where every x is 0.
    """
    whole = float(correlations[0])
    if whole <= 0:
        return {}
    shares = {}
    for irrep in irreps:
        character = irrep.matrix(elements).double().diagonal(dim1=1, dim2=2).sum(1)
        held = irrep.size * float(character @ correlations.double())
        # Rounding can give values below 0.
        shares[irrep.name] = max(0.0, held / (float(character.square().sum()) * whole))
    return shares
