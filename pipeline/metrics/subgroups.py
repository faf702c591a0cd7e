"""The subgroup of O(2) that inferred elements obey: cyclic, dihedral, SO(2) or all of O(2).

An element of O(2) is an angle, in radians, and whether it reflects: first x is mirrored left to
right, then turned. Under a candidate H an element is one of H, all equally likely, missed by a
normal error of the angle; a share of elements, the same for all candidates, says nothing. The error
and that share are fitted to each candidate, so candidates differ in nothing but H.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

MAX_ORDER = 12
ERRORS = tuple(math.radians(degrees) for degrees in (0.5, 1.0, 2.0, 4.0))
"""Standard deviations of the angle that are tried, in radians."""
SHARES = (0.01, 0.03, 0.1, 0.2, 0.4)
"""Shares of elements that say nothing, that are tried."""
NUM_RESAMPLES = 200


class Elements(NamedTuple):
    """Angles (N,) in radians and whether each element reflects, (N,) bool."""

    angle: torch.Tensor
    reflects: torch.Tensor


@dataclass(frozen=True)
class Candidate:
    """A subgroup: `num_turns` equally spaced rotations, or all of them if it is None, and as many
    reflections if `has_reflections`."""

    name: str
    num_turns: int | None
    has_reflections: bool


def candidates(max_order: int = MAX_ORDER) -> list[Candidate]:
    """C1 to C_n, SO(2), D1 to D_n and O(2); in this order, smaller ones first."""
    turns: list[int | None] = [*range(1, max_order + 1), None]
    return [
        Candidate(_name(num, mirrored), num, mirrored)
        for mirrored in (False, True)
        for num in turns
    ]


def _name(num_turns: int | None, has_reflections: bool) -> str:
    if num_turns is None:
        return "O(2)" if has_reflections else "SO(2)"
    return f"{'D' if has_reflections else 'C'}{num_turns}"


def densities(candidate: Candidate, elements: Elements, error: float) -> torch.Tensor:
    """The density of each element (N,) on O(2), whose volume is 4 pi, if all obey the candidate."""
    angle = elements.angle.double()
    if candidate.num_turns is None:
        among_turns = torch.full_like(angle, 1 / (2 * math.pi))
    else:
        step = 2 * math.pi / candidate.num_turns
        missed = (angle + step / 2) % step - step / 2
        # Neighbours count too where steps are not much larger than errors.
        wrapped = torch.stack([missed + k * step for k in (-2, -1, 0, 1, 2)])
        bells = torch.exp(-0.5 * (wrapped / error).square()) / (error * math.sqrt(2 * math.pi))
        among_turns = bells.sum(0) / candidate.num_turns
    if candidate.has_reflections:
        return among_turns / 2
    return among_turns * ~elements.reflects


@dataclass(frozen=True)
class Discovered:
    """The likeliest candidate, with two measures of doubt.

    `doubt` is the probability of all other candidates together, if all were equally likely before;
    `unstable` the share of resamples of the elements in which another candidate is the likeliest.
    `log_odds` are log likelihoods less that of the winner, in nats, by name.
    """

    name: str
    doubt: float
    unstable: float
    error: float
    share_unexplained: float
    log_odds: dict[str, float]


def discover(
    elements: Elements, among: Sequence[Candidate] | None = None, seed: int = 0
) -> Discovered:
    """The subgroup that N elements obey; ValueError without elements."""
    num = len(elements.angle)
    if not num:
        raise ValueError("a subgroup is found from elements, and there are none")
    among = list(among) if among is not None else candidates()
    scores = torch.stack([_log_likelihoods(each, elements) for each in among])  # (C, F, N)
    totals = scores.sum(2)
    best_fit = totals.max(1)
    likelihood = best_fit.values
    winner = int(likelihood.argmax())
    odds = likelihood - likelihood[winner]
    draws = torch.randint(
        0, num, (NUM_RESAMPLES, num), generator=torch.Generator().manual_seed(seed)
    )
    counts = torch.zeros(NUM_RESAMPLES, num, dtype=scores.dtype)
    counts.scatter_add_(1, draws, torch.ones_like(draws, dtype=scores.dtype))
    resampled = torch.einsum("cfn,rn->rcf", scores, counts).amax(2).argmax(1)
    fit = int(best_fit.indices[winner])
    return Discovered(
        among[winner].name,
        1 - float(torch.softmax(odds, 0)[winner]),
        float((resampled != winner).double().mean()),
        ERRORS[fit // len(SHARES)],
        SHARES[fit % len(SHARES)],
        {each.name: float(value) for each, value in zip(among, odds, strict=True)},
    )


def _log_likelihoods(candidate: Candidate, elements: Elements) -> torch.Tensor:
    """Of each element under each error and share, (errors x shares, N)."""
    nothing = 1 / (4 * math.pi)
    found = []
    for error in ERRORS:
        density = densities(candidate, elements, error)
        found += [torch.log((1 - share) * density + share * nothing) for share in SHARES]
    return torch.stack(found)
