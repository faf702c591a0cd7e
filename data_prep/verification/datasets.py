"""Checking the shards of a dataset against its manifest and recomputing its records."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.drawing.backgrounds import first_maximum, labels_of_maxima, sinusoids
from data_prep.verification import claims, transitions
from orbit.core.files.atomic import sha256_of_file
from orbit.core.store.manifest import Manifest, ShardInfo
from orbit.core.store.origin import Episodes, Sequences
from orbit.core.store.reader import PairStore, check_files
from orbit.core.store.shard import map_shard

NUM_SAMPLED_RECORDS = 4096
NUM_AHEAD = 2
"""The number of shards that are read for their checksums at a time."""
BLOCK_RECORDS, BLOCK_BYTES = 256, 2**23
"""The most records that are checked together, and bytes of their source frames; interpolating and
comparing them takes about twenty times as much memory."""


def verify_dataset(
    root: Path, on_shard: Callable[[ShardInfo], None] = lambda shard: None
) -> Iterator[str]:
    """Yield a line for each correct split; `on_shard` is called for each correct shard.

    Raises ValueError or FileNotFoundError naming file, dataset and row of the first fault; for a
    file with a wrong checksum and no wrong record, only the file is named.
    """
    manifest = PairStore(root).manifest
    check_files(root, manifest)
    digests = _digests(root, manifest)
    for name, split in manifest.splits.items():
        # Drawn, not evenly spread: a stride could hit only one element of every orbit.
        num_sampled = min(NUM_SAMPLED_RECORDS, split.num_records)
        rng = np.random.default_rng(0)
        sampled = np.sort(rng.choice(split.num_records, num_sampled, replace=False))
        first = 0
        for shard in split.shards:
            path = root / shard.file
            # First, so that the file is read once, in order, and later checks find it in memory.
            digest = next(digests)
            _check_arrays(path, manifest, shard.num_frames, shard.num_records)
            if digest != shard.sha256:
                _check_targets(path, manifest, np.arange(shard.num_records))
                raise ValueError(f"{path} does not match its checksum in the manifest")
            rows = sampled - first
            _check_targets(path, manifest, rows[(rows >= 0) & (rows < shard.num_records)])
            first += shard.num_records
            on_shard(shard)
        checked = _what_is_checked(manifest)
        done = f"{len(sampled)} {checked}" if checked else "nothing to recompute"
        yield (
            f"{name:5} ok: {len(split.shards)} shards, {split.num_frames:,} frames,"
            f" {split.num_records:,} records, {done}"
        )


def _digests(root: Path, manifest: Manifest) -> Iterator[str]:
    """The checksums of all shards in order, computed while other shards are checked."""
    paths = [root / shard.file for split in manifest.splits.values() for shard in split.shards]
    with ThreadPoolExecutor(NUM_AHEAD) as threads:
        ahead = deque(threads.submit(sha256_of_file, path) for path in paths[:NUM_AHEAD])
        for path in [*paths[NUM_AHEAD:], *[None] * len(ahead)]:
            yield ahead.popleft().result()
            if path is not None:
                ahead.append(threads.submit(sha256_of_file, path))


def _check_arrays(path: Path, manifest: Manifest, num_frames: int, num_records: int) -> None:
    arrays = map_shard(path)
    expected = {
        "frames": ((num_frames, *manifest.frames.shape), manifest.frames.dtype),
        "source": ((num_records,), "int64"),
        "target": ((num_records,), "int64"),
        "action": ((num_records, len(manifest.action)), "float32"),
        "label": ((num_records,), "int64"),
    }
    for name, spec in manifest.columns.items():
        expected[f"columns/{name}"] = ((num_records, *spec.shape), spec.dtype)
    for name, (shape, dtype) in expected.items():
        if name not in arrays:
            raise ValueError(f"{path}: dataset {name} is missing")
        if arrays[name].shape != shape or arrays[name].dtype != np.dtype(dtype):
            raise ValueError(
                f"{path}: dataset {name} is {arrays[name].dtype} {arrays[name].shape},"
                f" not {dtype} {shape}"
            )
    for name in ("source", "target"):
        rows = arrays[name]
        outside = np.logical_or(rows < 0, rows >= num_frames)
        _first_bad(path, name, outside, "points outside the frames")
    for name in expected:
        if arrays[name].dtype.kind == "f":
            _check_finite(path, name, arrays[name])
    action = arrays["action"]
    low = np.array([component.minimum for component in manifest.action])
    high = np.array([component.maximum for component in manifest.action])
    beyond = np.logical_or(action < low, action > high).any(axis=1)
    _first_bad(path, "action", beyond, "is outside the range that the manifest states")


def _check_finite(path: Path, name: str, array: np.ndarray) -> None:
    block = max(1, 2**24 // max(1, array[:1].size))
    for first in range(0, len(array), block):
        values = array[first : first + block]
        bad = ~np.isfinite(values).reshape(len(values), -1).all(1)
        _first_bad(path, name, bad, "is not finite", first)


def _first_bad(path: Path, name: str, bad: Any, fault: str, offset: int = 0) -> None:
    if bad.any():
        raise ValueError(f"{path}: dataset {name}, row {offset + int(np.argmax(bad))} {fault}")


def _what_is_checked(manifest: Manifest) -> str | None:
    """A clause that says what is recomputed of the records; None for nothing."""
    if isinstance(manifest.origin, Episodes):
        return transitions.what_is_checked(manifest)
    if isinstance(manifest.origin, Sequences):
        return "drawn again"
    return claims.what_is_checked(manifest)


def _check_targets(path: Path, manifest: Manifest, rows: np.ndarray) -> None:
    """Recompute these records of a shard and compare."""
    if _what_is_checked(manifest) is None:
        return
    arrays = map_shard(path)
    step = max(1, min(BLOCK_RECORDS, BLOCK_BYTES // arrays["frames"][0].nbytes))
    for first in range(0, len(rows), step):
        block = rows[first : first + step]
        if isinstance(manifest.origin, Episodes):
            transitions.check_transitions(path, manifest, arrays, block)
            continue
        if isinstance(manifest.origin, Sequences):
            check_sequences(path, manifest, arrays, block)
            continue
        columns = {name: arrays[f"columns/{name}"][block] for name in manifest.columns}
        source, target = (arrays["frames"][arrays[end][block]] for end in ("source", "target"))
        wrong = claims.faults(manifest, source, target, arrays["action"][block], columns)
        if wrong.any():
            raise ValueError(
                f"{path}: dataset target, row {block[np.argmax(wrong)]}"
                " is not the action applied to its source"
            )


RELATIVE_TOLERANCE = 2.0**-10
"""The relative rounding error of half precision."""


def check_sequences(
    path: Path, manifest: Manifest, arrays: Mapping[str, np.ndarray], rows: np.ndarray
) -> None:
    """Raise ValueError naming file, dataset and row of the first record (of these rows of a
    shard) whose sequence or labels are not those of its amplitude and phase."""
    origin = manifest.origin
    assert isinstance(origin, Sequences)
    size = (origin.num_points, origin.num_periods)
    amplitude, phase = (arrays[f"columns/{name}"][rows] for name in ("amplitude", "phase"))
    maximum = first_maximum(phase, *size)
    expected = {
        "source": sinusoids(amplitude, phase, *size),
        "target": labels_of_maxima(maximum, *size),
    }
    for end, values in expected.items():
        found = arrays["frames"][arrays[end][rows]].reshape(values.shape)
        error = np.abs(found.astype(np.float64) - values).max(1)
        _refuse(
            path, end, rows, error > RELATIVE_TOLERANCE * np.abs(amplitude), "shows other values"
        )
    _refuse(path, "label", rows, arrays["label"][rows] != maximum, "is not the first maximum")


def _refuse(path: Path, name: str, rows: np.ndarray, is_wrong: np.ndarray, fault: str) -> None:
    if is_wrong.any():
        row = rows[np.argmax(is_wrong)]
        raise ValueError(f"{path}: dataset {name}, row {row} {fault}")
