"""A user's table of pairs, whatever its format, and reading one from an NPZ archive."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from orbit.core.files.atomic import sha256_of_file
from orbit.core.groups import make_group
from orbit.core.reading.files import number_labels
from orbit.core.reading.numpy_files import load_npz
from orbit.core.store.manifest import SPLITS

MAX_CHANNELS = 4
ELEMENT_TOLERANCE = 0.02
DECODED_ROWS = 4096


class Frames(Protocol):
    """The images or volumes of a table, by number. Picklable and cheap to copy."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of every frame, (C, H, W) or (C, D, H, W)."""

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Frames (n, C, ...) uint8; ValueError or FileNotFoundError naming a bad file."""

    def checksums(self) -> dict[str, str]:
        """sha256 of every file that is read, including the table."""


@dataclass(frozen=True)
class Places:
    """The position of each row, for messages: `word` is line or row, `numbers` (N,)."""

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

    The first of three axes is a spatial one if it is longer than 4. Raises ValueError for other
    arrays.
    """
    if len(shape) == 2 or (len(shape) == 3 and shape[0] > MAX_CHANNELS):
        shape = (1, *shape)
    if len(shape) not in (3, 4) or not 1 <= shape[0] <= MAX_CHANNELS or min(shape) < 1:
        raise ValueError(f"an array of shape {shape} is neither an image nor a volume")
    return shape


def checked_actions(name: str, action: np.ndarray, places: Places) -> np.ndarray:
    """Action vectors (N, A) float32 in the group's own form; quaternions get length 1, for example.

    Raises ValueError naming the first row that is out of range or far from every element of the
    group.
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
        raise ValueError(f"{places[row]}: action ({values}) is not an element of the group {name}")
    return written


def checked_labels(texts: Sequence[str] | None, places: Places) -> tuple[np.ndarray, str]:
    """Labels (N,) int64 and their meaning: integers unchanged, other texts numbered in sorted
    order.

    Raises ValueError naming the row of an empty label or of one outside int64.
    """
    if texts is None:
        return np.zeros(len(places.numbers), np.int64), "always 0: the table has no labels"
    labels, names = number_labels(texts, places.__getitem__)
    listed = ", ".join(f"{number} {name}" for number, name in enumerate(names))
    return labels, f"label of the table: {listed}" if names else "label of the table"


def checked_splits(texts: Sequence[str], places: Places) -> np.ndarray:
    """Positions in `SPLITS` (N,) int64; ValueError naming the row of an unknown split."""
    for row, text in enumerate(texts):
        if text not in SPLITS:
            raise ValueError(f"{places[row]}: split {text!r} is none of {', '.join(SPLITS)}")
    return np.array([SPLITS.index(text) for text in texts], np.int64)


def first_shared_frame(pairs: Pairs, split: np.ndarray) -> tuple[int, int] | None:
    """The first two rows that share a frame but not their `split` (N,), or None.

    The second is the earliest row with a frame that an earlier row, the first, has in another
    split. Frames are the same if their numbers are: files by name; rows of an npz are never the
    same.
    """
    frames = np.stack([pairs.source, pairs.target], 1).ravel()
    _, first_use, place = np.unique(frames, return_index=True, return_inverse=True)
    first_row = first_use[place] // 2
    differs = split[first_row] != np.repeat(split, 2)
    if not differs.any():
        return None
    use = int(np.argmax(differs))
    return int(first_row[use]), use // 2


NEEDED, OPTIONAL = ("source", "target", "action"), ("label", "split")


class ArrayFrames:
    """Frames of an npz: source of row i is number i, its target N + i."""

    def __init__(self, path: Path, num_rows: int, shape: tuple[int, ...]) -> None:
        self._path, self._num_rows, self.shape = path, num_rows, shape
        self._checksum: str | None = None

    def read(self, numbers: np.ndarray) -> np.ndarray:
        frames = np.empty((len(numbers), *self.shape), np.uint8)
        is_source = numbers < self._num_rows
        for name, rows in (("source", is_source), ("target", ~is_source)):
            chosen = _load(self._path)[name][numbers[rows] % self._num_rows]
            frames[rows] = chosen.reshape(-1, *self.shape)
        return frames

    def checksums(self) -> dict[str, str]:
        if self._checksum is None:
            self._checksum = sha256_of_file(self._path)
        return {self._path.name: self._checksum}


def read_npz_pairs(path: Path, group: str) -> Pairs:
    """The pairs of an npz with N frames in source and target each, uint8.

    They are (N, H, W), (N, C, H, W) with at most 4 channels, (N, D, H, W) or
    (N, C, D, H, W). Raises ValueError in one line naming the file and the row, from 0.
    """
    arrays = _load(path)
    for name in NEEDED:
        if name not in arrays:
            raise ValueError(f"{path} has no array {name}; needed: {', '.join(NEEDED)}")
    for name in arrays:
        if name not in NEEDED + OPTIONAL:
            allowed = ", ".join(NEEDED + OPTIONAL)
            raise ValueError(f"{path}: unknown array {name!r}; allowed: {allowed}")
    source, target, action = (arrays[name] for name in NEEDED)
    num = len(source) if source.ndim else 0
    if not num:
        raise ValueError(f"{path} has no rows")
    for name, array in (("source", source), ("target", target)):
        if array.dtype != np.uint8:
            raise ValueError(f"{path}: {name} holds {array.dtype}, not uint8")
    if target.shape != source.shape:
        raise ValueError(f"{path}: target has shape {target.shape}, source {source.shape}")
    wanted = (num, len(make_group(group).action_components))
    if action.shape != wanted or action.dtype.kind not in "iuf":
        raise ValueError(
            f"{path}: action is {action.dtype} of shape {action.shape}, not numbers of {wanted}"
        )
    try:
        shape = frame_shape(source.shape[1:])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    places = Places(path, "row", np.arange(num))
    label, meaning = checked_labels(_texts(path, arrays, "label", "iufU", num), places)
    split = _texts(path, arrays, "split", "U", num)
    return Pairs(
        ArrayFrames(path, num, shape),
        np.arange(num),
        np.arange(num) + num,
        checked_actions(group, action, places),
        label,
        meaning,
        None if split is None else checked_splits(split, places),
        places,
    )


def _texts(
    path: Path, arrays: dict[str, np.ndarray], name: str, kinds: str, num: int
) -> list[str] | None:
    if name not in arrays:
        return None
    array = arrays[name]
    if array.shape != (num,) or array.dtype.kind not in kinds:
        what = "text" if kinds == "U" else "numbers or text"
        raise ValueError(
            f"{path}: {name} is {array.dtype} of shape {array.shape}, not {what} of ({num},)"
        )
    return [_text(value) for value in array.tolist()]


def _text(value: int | float | str) -> str:
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if is_whole else value)


def _load(path: Path) -> dict[str, np.ndarray]:
    return _load_version(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _load_version(path: Path, modified_ns: int) -> dict[str, np.ndarray]:
    return load_npz(path)
