"""Which part of the latent holds what: the block in blocked images, and swapped parts (paper 1).

A is the channel mean of |z_i| (or |z_v|) in each latent cell, background the median of A
in that cell over all source images. Of a map D = (A - background)^2 (or |A - background|
for the absolute form) the share is

    sum of D over the cells that the block touches / sum of D over all cells

summed over all source images of the split, each once (or over as many, spread over it, as memory
can hold). A cell corresponds to a rectangle of pixels. A part that holds only the block has share
1; a part that does not depend on the block's position has share `block/area_fraction` (paper,
latent figure).

Objects before backgrounds: frame = a c + (1 - a) b with coverage a, so that the object of i before
the background of j is frame_i + (1 - a_i)(b_j - b_i). Blocked images: image i with the block of j
painted on it. The part of the digit behind the block of i is unknown, and counts as neither
foreground nor background.

Record i is paired with another record j by a fixed permutation. D(z_v(i) + z_i(j)) must show the
moving part of i and the fixed part of j (paper, swap figure):

    swap/foreground_rmse, swap/background_rmse    root mean squared error on [0, 1] there
    swap/worse_rmse                               the larger of these two
    swap/unswapped_...                            of D(z_v(i) + z_i(i)), which ignores j

A model that separates the parts has a small error in both; the unswapped output shows how large the
background error is for one that does not. Neither error is a result alone: a model without variant
channels shows record j as it is, so its background error is the least, with a wrong foreground. The
larger of the two is small only if both parts are right.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from orbit.core.store.facts import in_block
from orbit.core.store.manifest import Manifest
from orbit.core.store.origin import Orbits
from orbit.core.store.reader import SplitReader
from pipeline.measuring import batches, device_of, partners, spread_sources
from pipeline.methods.interface import Latents
from pipeline.models.latent_action import LatentActionModel, LatentParts


def square_sum(x: torch.Tensor) -> float:
    """Sum of the squares of (N, ...)."""
    return float(x.flatten(1).square().sum(1).double().sum().item())


def relative(squared_difference: float, squared_norm: float) -> float:
    """Root of a ratio of sums of squares; 0 if the denominator is 0."""
    return math.sqrt(squared_difference / squared_norm) if squared_norm > 0 else 0.0


def ratio(part: float, whole: float) -> float:
    """part / whole; 0 if the whole is 0."""
    return part / whole if whole > 0 else 0.0


def offered_latents(model: LatentActionModel) -> Latents:
    """The latent for shared measures: z_v, on which the group acts, and z_i.

    Without variant channels nothing is acted on; without invariant ones there is no z_i.
    """
    is_variant = model.mask.is_variant()

    def encode(frames: torch.Tensor) -> dict[str, torch.Tensor]:
        parts = model.encode(model.normalise(frames))
        found = {"z_v": parts.variant, "z_i": parts.invariant}
        chosen = {"z_v": bool(is_variant.any()), "z_i": not is_variant.all()}
        return {name: part.float() for name, part in found.items() if chosen[name]}

    def decode(parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        (some, *_) = parts.values()
        nothing = torch.zeros_like(some)
        latent = LatentParts(parts.get("z_v", nothing), parts.get("z_i", nothing))
        return model.to_unit_range(model.decode(latent))

    if not is_variant.any():
        return Latents(encode, decode=decode)
    return Latents(encode, "z_v", model.act, decode)


MAX_VALUES, MIN_SOURCES = 1 << 25, 4096
"""The most values of maps that are kept for the median, and the fewest sources."""


def block_side(manifest: Manifest) -> int | None:
    """Side, in pixels, of the block whose position every record has; None without a block."""
    origin = manifest.origin
    return origin.block_side if isinstance(origin, Orbits) and "block" in manifest.columns else None


@torch.no_grad()
def block_metrics(
    model: LatentActionModel, reader: SplitReader, side: int, batch: int
) -> dict[str, float]:
    """The shares, for blocks of `side` pixels and a latent (C, h, w)."""
    num_cells = math.prod(model.latent_shape[1:])
    records = spread_sources(reader, max(MIN_SOURCES, MAX_VALUES // num_cells))
    invariant, variant = magnitude_maps(model, reader, records, batch)
    corners = reader.read_column("block", records)
    touched = touched_cells(corners, side, reader.frames.shape[1:], model.latent_shape[1:])
    metrics = {"block/area_fraction": float(touched.mean())}
    for name, maps in (("invariant", invariant), ("variant", variant)):
        difference = maps - np.median(maps, axis=0)
        for form, weights in (("", difference**2), ("absolute_", np.abs(difference))):
            share = ratio(float(weights[touched].sum()), float(weights.sum()))
            metrics[f"block/share_{form}{name}"] = share
    return metrics


def magnitude_maps(
    model: LatentActionModel, reader: SplitReader, records: np.ndarray, batch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Channel means of |z_i| and |z_v| of these records' sources, (N, ...) float64 each."""
    device = device_of(model)
    maps: list[tuple[np.ndarray, np.ndarray]] = []
    for _, read in batches(reader, records, batch):
        parts = model.encode(model.normalise(torch.from_numpy(read.source).to(device)))
        means = (x.abs().mean(1).double().cpu().numpy() for x in (parts.invariant, parts.variant))
        invariant, variant = means
        maps.append((invariant, variant))
    return np.concatenate([m[0] for m in maps]), np.concatenate([m[1] for m in maps])


def touched_cells(
    corners: np.ndarray, side: int, frame: tuple[int, ...], latent: tuple[int, ...]
) -> np.ndarray:
    """Whether each cell of a latent (h, w) overlaps the block, (N, h, w) bool.

    `corners` (N, 2) are rows and columns of top left corners in frames (H, W).
    """
    along: list[np.ndarray] = []
    for axis in range(2):
        edges = np.arange(latent[axis] + 1) * frame[axis] / latent[axis]
        first = corners[:, axis, None]
        along.append((edges[:-1] < first + side) & (edges[1:] > first))
    return np.asarray(along[0][:, :, None] & along[1][:, None, :])


OBJECT_COLUMNS = {"source_mask", "background"}


class SwapTruth(NamedTuple):
    """`images` (N, C, H, W) float32 on [0, 1]; which pixels show the moving and the fixed part, (N,
    1, H, W) bool each and never both."""

    images: np.ndarray
    foreground: np.ndarray
    background: np.ndarray


def can_swap(manifest: Manifest, reader: SplitReader) -> bool:
    """Whether the dataset has the columns to compose the truth, and at least two sources."""
    is_known = block_side(manifest) is not None or manifest.columns.keys() >= OBJECT_COLUMNS
    return is_known and len(spread_sources(reader, 2)) == 2


def swap_truth(
    manifest: Manifest,
    reader: SplitReader,
    frames: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
) -> SwapTruth:
    """The truth for the moving parts of records `first` with the fixed parts of `second`.

    `frames` (N, C, H, W) are the source frames of `first` as stored.
    """
    low, high = manifest.frames.stored_range
    side = block_side(manifest)
    if side is not None:
        own, other = (
            in_block(reader.read_column("block", records), side, frames.shape[2:])[:, None]
            for records in (first, second)
        )
        images = (np.where(other, high, frames) - low) / (high - low)
        return SwapTruth(images.astype(np.float32), ~other & ~own, other & ~own)
    mask = reader.read_column("source_mask", first)
    behind, instead = (
        reader.read_column("background", records).astype(np.float32) for records in (first, second)
    )
    clear = 1 - mask.astype(np.float32) / 255
    images = (frames + clear * (instead - behind) - low) / (high - low)
    return SwapTruth(images.clip(0, 1).astype(np.float32), mask > 0, mask == 0)


@torch.no_grad()
def swapped(
    model: LatentActionModel, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """D(z_v(first) + z_i(second)) and D(z(first)) on [0, 1], of stored frames (N, C, ...)."""
    device = device_of(model)
    own, other = (
        model.encode(model.normalise(torch.from_numpy(frames).to(device)))
        for frames in (first, second)
    )
    together = LatentParts(own.variant, other.invariant)
    outputs = (model.to_unit_range(model.decode(parts)) for parts in (together, own))
    moved, kept = (np.asarray(output.cpu().numpy()) for output in outputs)
    return moved, kept


def swap_metrics(
    model: LatentActionModel,
    manifest: Manifest,
    reader: SplitReader,
    records: np.ndarray,
    batch: int,
) -> dict[str, float]:
    """The errors above over these records' sources, at least two of them."""
    partner = records[partners(len(records))]
    squares: dict[str, float] = {}
    num_values: dict[str, int] = {}
    for places, read in batches(reader, records, batch):
        other = reader.read(partner[places])
        truth = swap_truth(manifest, reader, read.source, records[places], partner[places])
        outputs = zip(("", "unswapped_"), swapped(model, read.source, other.source), strict=True)
        for which, output in outputs:
            error = (output - truth.images).astype(np.float64) ** 2
            for part in ("foreground", "background"):
                name = f"swap/{which}{part}_rmse"
                where = np.broadcast_to(getattr(truth, part), error.shape)
                squares[name] = squares.get(name, 0.0) + float(error[where].sum())
                num_values[name] = num_values.get(name, 0) + int(where.sum())
    found = {name: math.sqrt(squares[name] / max(1, num_values[name])) for name in squares}
    worse = max(found["swap/foreground_rmse"], found["swap/background_rmse"])
    return {"swap/worse_rmse": worse, **found}
