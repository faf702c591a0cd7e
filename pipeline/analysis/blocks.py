"""Which part of the latent holds the block that stays where it is?

A is the channel mean of |z_i| (or |z_v|) in each latent cell, background the median of A
in that cell over all source images. Of a map D = (A - background)^2 (or |A - background|
for the absolute form) the share is

    sum of D over the cells that the block touches / sum of D over all cells

summed over all source images of the split, each once (of more than memory holds the maps of, as
many all over it). A cell is as many pixels as the
frame has for each latent cell. A part that knows only the block has share 1; one that
does not care where the block is has `block/area_fraction` (paper, latent figure).
"""

import math

import numpy as np
import torch

from data_prep.store.manifest import Manifest
from data_prep.store.reader import SplitReader
from pipeline.analysis.records import batches, device_of, spread_sources
from pipeline.analysis.sums import ratio
from pipeline.models.latent_action import LatentActionModel

MAX_VALUES, MIN_SOURCES = 1 << 25, 4096
"""Numbers of the maps of one part that are kept for their median, and sources at the least."""


def shows_blocks(manifest: Manifest) -> bool:
    """Whether every record has a block at a known place."""
    return manifest.generator.get("scene") == "blocked" and "block" in manifest.columns


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
