"""What an image with its moving part before another image's resting part must look like.

Objects before backgrounds: frame = a c + (1 - a) b with coverage a, so that the object of
i before the background of j is frame_i + (1 - a_i)(b_j - b_i). Blocked images: image i with
the block of j painted on it. What the block of i hides of the digit is not known there,
and counts as neither foreground nor background.
"""

from typing import NamedTuple

import numpy as np

from data_prep.scenes.blocked import paint_blocks
from data_prep.store.manifest import Manifest
from data_prep.store.reader import SplitReader
from pipeline.analysis.blocks import shows_blocks
from pipeline.analysis.records import spread_sources

OBJECT_COLUMNS = {"source_mask", "background"}


class SwapTruth(NamedTuple):
    """`images` (N, C, H, W) float32 on [0, 1]; which pixels show the moving and the resting
    part, each (N, 1, H, W) bool and never both."""

    images: np.ndarray
    foreground: np.ndarray
    background: np.ndarray


def can_swap(manifest: Manifest, reader: SplitReader) -> bool:
    """Whether the dataset knows enough to composite the truth, of two sources at least."""
    is_known = shows_blocks(manifest) or manifest.columns.keys() >= OBJECT_COLUMNS
    return is_known and len(spread_sources(reader, 2)) == 2


def swap_truth(
    manifest: Manifest,
    reader: SplitReader,
    frames: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
) -> SwapTruth:
    """The truth for the moving parts of records `first` with the resting parts of `second`.

    `frames` (N, C, H, W) are the source frames of `first` as stored.
    """
    low, high = manifest.frames.stored_range
    if shows_blocks(manifest):
        side = manifest.generator["side"]
        own, other = (
            _blocks(reader.read_column("block", records), side, frames.shape[2:])
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


def _blocks(corners: np.ndarray, side: int, lattice: tuple[int, ...]) -> np.ndarray:
    """Where the blocks are, (N, 1, H, W) bool."""
    empty = np.zeros((len(corners), 1, 1, *lattice), np.uint8)
    return np.asarray(paint_blocks(empty, corners, side)[:, 0] > 0)
