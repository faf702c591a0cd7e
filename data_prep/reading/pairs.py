"""What a user's table of pairs says, whatever its format: rows that point at frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from data_prep.reading.labels import number_labels
from data_prep.store.manifest import SPLITS
from pipeline.groups import make_group

MAX_CHANNELS = 4
ELEMENT_TOLERANCE = 0.02
DECODED_ROWS = 4096


class Frames(Protocol):
    """The images or volumes of a table, by number. Picklable and cheap to copy."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) or (C, D, H, W), of every frame"""

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Frames (n, C, ...) uint8; ValueError or FileNotFoundError naming a bad file."""

    def checksums(self) -> dict[str, str]:
        """sha256 of every file read, the table among them."""


@dataclass(frozen=True)
class Places:
    """Where each row stands, for messages: `word` is line or row, `numbers` (N,)."""

    table: Path
    word: str
    numbers: np.ndarray

    def __getitem__(self, row: int) -> str:
        return f"{self.table}, {self.word} {self.numbers[row]}"


@dataclass(frozen=True)
class Pairs:
    """N rows: frame numbers `source` and `target`, `action` (N, A) float32, `label`, all (N,).

    `split` (N,) holds positions in `SPLITS`, or is None.
    """

    frames: Frames
    source: np.ndarray
    target: np.ndarray
    action: np.ndarray
    label: np.ndarray
    label_meaning: str
    split: np.ndarray | None
    places: Places


def frame_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape (C, H, W) or (C, D, H, W) of an array (H, W), (C, H, W), (D, H, W) or (C, D, H, W).

    A first of three axes that is longer than 4 is one of space. ValueError for other arrays.
    """
    if len(shape) == 2 or (len(shape) == 3 and shape[0] > MAX_CHANNELS):
        shape = (1, *shape)
    if len(shape) not in (3, 4) or not 1 <= shape[0] <= MAX_CHANNELS or min(shape) < 1:
        raise ValueError(f"an array of shape {shape} is neither an image nor a volume")
    return shape


def checked_actions(name: str, action: np.ndarray, places: Places) -> np.ndarray:
    """Action vectors (N, A) of a group as it writes them itself, float32.

    Quaternions get length 1, for example. Raises ValueError naming the first row that
    is out of range or far from every element of the group.
    """
    group = make_group(name)
    given = action.astype(np.float32)
    for component, values in zip(group.action_components, given.T, strict=True):
        is_inside = (values >= component.minimum) & (values <= component.maximum)
        if not is_inside.all():
            row = int(np.argmin(is_inside))
            raise ValueError(
                f"{places[row]}: {component.name}={values[row]:g} is not within"
                f" {component.minimum:g} to {component.maximum:g}"
            )
    written = np.empty_like(given)
    for first in range(0, len(given), DECODED_ROWS):
        rows = slice(first, first + DECODED_ROWS)
        written[rows] = group.encode(group.decode(torch.from_numpy(given[rows]))).numpy()
    # A quaternion and its negative are one rotation.
    distance = np.minimum(np.abs(written - given), np.abs(written + given))
    is_near = (distance <= ELEMENT_TOLERANCE).all(1)
    if not is_near.all():
        row = int(np.argmin(is_near))
        values = ", ".join(f"{value:g}" for value in given[row])
        raise ValueError(f"{places[row]}: action ({values}) is no element of the group {name}")
    return written


def checked_labels(texts: Sequence[str] | None, places: Places) -> tuple[np.ndarray, str]:
    """Labels (N,) int64 and their meaning: integers as they are, else sorted names in turn.

    Raises ValueError naming the row of an empty label or of one that is no int64.
    """
    if texts is None:
        return np.zeros(len(places.numbers), np.int64), "always 0: the table has no labels"
    labels, names = number_labels(texts, places.__getitem__)
    listed = ", ".join(f"{number} {name}" for number, name in enumerate(names))
    return labels, f"label of the table: {listed}" if names else "label of the table"


def checked_splits(texts: Sequence[str], places: Places) -> np.ndarray:
    """Positions in `SPLITS` (N,) int64; ValueError naming the row of another name."""
    for row, text in enumerate(texts):
        if text not in SPLITS:
            raise ValueError(f"{places[row]}: split {text!r} is none of {', '.join(SPLITS)}")
    return np.array([SPLITS.index(text) for text in texts], np.int64)


def first_shared_frame(pairs: Pairs, split: np.ndarray) -> tuple[int, int] | None:
    """The first two rows that share a frame but not their `split` (N,), or None.

    The second is the earliest row with a frame that an earlier row, the first, has in
    another split. Frames are the same if their numbers are: files by name, and rows of
    an npz never.
    """
    frames = np.stack([pairs.source, pairs.target], 1).ravel()
    _, first_use, place = np.unique(frames, return_index=True, return_inverse=True)
    first_row = first_use[place] // 2
    differs = split[first_row] != np.repeat(split, 2)
    if not differs.any():
        return None
    use = int(np.argmax(differs))
    return int(first_row[use]), use // 2
