"""Elements of O(2) that explain pairs of images (x, x'), none of which is given; their subgroup.

An element is found by trying: all angles in steps of 5 degrees, with and without a reflection, on
the images themselves, then the neighbourhood of the best one in steps of half a degree. Larger
images than `MAX_SIDE` are averaged down to it first.

The subgroup that inferred elements obey is cyclic, dihedral, SO(2) or all of O(2). An element of
O(2) is an angle, in radians, and whether it reflects: first x is mirrored left to right, then
turned. Under a candidate H an element is one of H, all equally likely, missed by a normal error of
the angle; a share of elements, the same for all candidates, says nothing. The error and that share
are fitted to each candidate, so candidates differ in nothing but H.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn.functional import adaptive_avg_pool2d

from orbit.core.groups import make_group
from orbit.core.progress import Progress
from orbit.core.store.manifest import Manifest
from orbit.core.store.origin import Orbits, Table
from orbit.core.store.reader import SplitReader
from orbit.core.user_text import counted
from pipeline.data.packing import slices
from pipeline.measuring import spread_records

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


COARSE = torch.arange(-180.0, 180.0, 5.0).deg2rad()
FINE = torch.arange(-4.5, 5.0, 0.5).deg2rad()
BLOCK = 1 << 24
"""Values of moved images, and of frames that are read, that are held at a time."""
MAX_SIDE = 64
"""Of images, in pixels: half a degree still moves the border by more than a quarter of a pixel."""
MAX_READ = 256
SHOWN = 4
MUCH = 0.75
"""Of the change between images: where more is left, the answer is worth little."""
LEAST = 1e-15
"""Smaller probabilities are lost in rounding."""


class Inferred(NamedTuple):
    """Elements of pairs, and the mean squared error that they leave over that of changing nothing:
    1 where turns and reflections explain nothing of what changes, 0 where nothing changes."""

    elements: Elements
    change_left: float


def check_pairs(manifest: Manifest, split: str) -> None:
    """Raise ValueError unless a split has pairs of square images."""
    if not isinstance(manifest.origin, Orbits | Table):
        raise ValueError(f"{manifest.name} holds {manifest.origin.kind}, not pairs of images")
    manifest.check_has_targets(split, "discover.py", "split=NAME of another split")
    shape = manifest.frames.shape
    if len(shape) != 3 or shape[1] != shape[2]:
        raise ValueError(f"frames of shape {list(shape)}: a turn is found for square images only")


def moved(images: torch.Tensor, angles: torch.Tensor, reflects: bool) -> torch.Tensor:
    """Images (N, C, H, H), mirrored left to right if `reflects`, under each of K turns:
    (N, K, C, H, H)."""
    mirrored = images.flip(-1) if reflects else images
    each = mirrored.repeat_interleave(angles.shape[-1], 0)
    turned = make_group("so2").act_on_image(each, angles.expand(len(images), -1).flatten())
    return turned.view(len(images), -1, *images.shape[1:])


def infer_elements(source: torch.Tensor, target: torch.Tensor) -> tuple[Elements, torch.Tensor]:
    """For each pair of float images (N, C, H, H), the element under which x is nearest to x', and
    the mean squared error that is left, (N,)."""
    found, left = [], []
    rows = max(1, BLOCK // (2 * len(COARSE) * source[0].numel()))
    for part in slices(len(source), rows):
        x, wanted = source[part], target[part]
        errors = torch.stack(
            [_errors(x, wanted, COARSE.expand(len(x), -1), mirrored) for mirrored in (False, True)]
        )
        lowest, at = errors.min(2)
        angles = torch.empty(2, len(x))
        for mirrored in (0, 1):
            near = COARSE[at[mirrored]][:, None] + FINE
            fine, best = _errors(x, wanted, near, bool(mirrored)).min(1)
            lowest[mirrored] = fine
            angles[mirrored] = near.gather(1, best[:, None])[:, 0]
        reflects = lowest[1] < lowest[0]
        found.append(Elements(torch.where(reflects, angles[1], angles[0]), reflects))
        left.append(lowest.amin(0))
    return joined(found), torch.cat(left)


def reduced(images: torch.Tensor) -> torch.Tensor:
    """Images (N, C, H, H), averaged down to `MAX_SIDE` pixels a side if they have more."""
    return adaptive_avg_pool2d(images, MAX_SIDE) if images.shape[-1] > MAX_SIDE else images


def joined(parts: Sequence[Elements]) -> Elements:
    """All elements of several batches."""
    return Elements(torch.cat([e.angle for e in parts]), torch.cat([e.reflects for e in parts]))


def _errors(
    x: torch.Tensor, wanted: torch.Tensor, angles: torch.Tensor, mirrored: bool
) -> torch.Tensor:
    """Mean squared errors (N, K) of x moved by angles (N, K)."""
    return (moved(x, angles, mirrored) - wanted[:, None]).square().flatten(2).mean(2)


def elements_of_pairs(reader: SplitReader, frames_range: tuple[float, float], num: int) -> Inferred:
    """Inferred elements of up to `num` pairs that are spread over a split."""
    low, high = frames_range
    places = spread_records(reader, num)
    num_read = min(MAX_READ, max(1, BLOCK // math.prod(reader.frames.shape)))
    found, left, changed = [], 0.0, 0.0
    with Progress(len(places), "pairs", "inferring", lines=False) as progress:
        for part in slices(len(places), num_read):
            read = reader.read(places[part])
            source, target = (
                reduced((torch.from_numpy(frames).float() - low) / (high - low))
                for frames in (read.source, read.target)
            )
            elements, errors = infer_elements(source, target)
            found.append(elements)
            left += float(errors.sum())
            changed += float((source - target).square().flatten(1).mean(1).sum())
            progress.advance(len(source))
    return Inferred(joined(found), left / changed if changed else 0.0)


def report_lines(found: Discovered, num_pairs: int, split: str, change_left: float) -> list[str]:
    """What was found, for a reader: the subgroup, what puts it in doubt, and the next likeliest."""
    doubt = f"{found.doubt:.2g}" if found.doubt > LEAST else f"below {LEAST:g}"
    ranked = sorted(found.log_odds.items(), key=lambda item: -item[1])[1:SHOWN]
    warning = "warning: turns and reflections explain little of what changes in these pairs"
    doubtful = change_left > MUCH or found.share_unexplained >= max(SHARES)
    return [
        f"{found.name}, from {counted(num_pairs, 'pair')} of {split}",
        f"  probability of any other: {doubt}",
        f"  resamples of the pairs that give another: {found.unstable:.0%}",
        f"  change of the images that is left: {change_left:.0%}",
        f"  error of angles: {math.degrees(found.error):.1f} degrees",
        f"  pairs that it does not explain: {found.share_unexplained:.0%}",
        *([warning] if doubtful else []),
        "  next (log odds in nats): " + ", ".join(f"{name} ({odds:.1f})" for name, odds in ranked),
    ]
