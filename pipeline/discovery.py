"""Elements of O(2) that explain pairs of images (x, x'), none of which is given.

An element is found by trying: all angles in steps of 5 degrees, with and without a reflection, on
the images themselves, then the neighbourhood of the best one in steps of half a degree. Larger
images than `MAX_SIDE` are averaged down to it first.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn.functional import adaptive_avg_pool2d

from orbit.core.groups import make_group
from orbit.core.progress import Progress
from orbit.core.store.manifest import Manifest
from orbit.core.store.origin import Orbits, Table
from orbit.core.store.reader import SplitReader
from orbit.core.user_text import counted
from pipeline.data.places import slices
from pipeline.measuring import spread_records
from pipeline.metrics.subgroups import SHARES, Discovered, Elements

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
