"""An npz of pairs: arrays source, target, action and, if wanted, label and split."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from data_prep.reading.npz_file import load_npz
from data_prep.reading.pairs import (
    Pairs,
    Places,
    checked_actions,
    checked_labels,
    checked_splits,
    frame_shape,
)
from pipeline.files.atomic import sha256_of_file
from pipeline.groups import make_group

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
