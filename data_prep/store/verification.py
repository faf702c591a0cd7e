"""Checking a dataset against its manifest and its own claims."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_prep.store.manifest import Manifest, SplitInfo
from data_prep.store.reader import PairStore, check_files
from data_prep.store.shard import map_shard
from pipeline.files.atomic import sha256_of_file
from pipeline.groups import make_group

NUM_SAMPLED_RECORDS = 256
INTERPOLATION_TOLERANCE = 2.0
"""Largest difference in stored units, on average, for a group that interpolates."""


def verify_dataset(root: Path) -> Iterator[str]:
    """Yield a line for each split that is in order.

    Raises ValueError or FileNotFoundError naming file, dataset and row of the first fault.
    """
    store = PairStore(root)
    manifest = store.manifest
    check_files(root, manifest)
    for name, split in manifest.splits.items():
        for shard in split.shards:
            path = root / shard.file
            if sha256_of_file(path) != shard.sha256:
                raise ValueError(f"{path} does not match its checksum in the manifest")
            _check_arrays(path, manifest, shard.num_frames, shard.num_records)
        num_checked = _check_pairs(store, name, split)
        yield (
            f"{name:5} ok: {len(split.shards)} shards, {split.num_frames:,} frames,"
            f" {split.num_records:,} records, {num_checked} pairs recomputed"
        )


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


def _check_pairs(store: PairStore, name: str, split: SplitInfo) -> int:
    """Recompute targets from sources on evenly spread records; returns how many."""
    manifest, reader = store.manifest, store.split(name)
    if not manifest.target_is_action_on_source:
        return 0
    group = make_group(manifest.group)
    spread = np.linspace(0, split.num_records - 1, min(NUM_SAMPLED_RECORDS, split.num_records))
    numbers = np.unique(spread.astype(np.int64))
    records = reader.read(numbers)
    source = torch.from_numpy(records.source)
    elements = group.decode(torch.from_numpy(records.action))
    if group.is_exact:
        moved = group.act_on_image(source, elements).numpy()
        differs = (moved != records.target).reshape(len(numbers), -1).any(1)
    else:
        moved = group.act_on_image(source.float(), elements).numpy()
        error = np.abs(moved - records.target.astype(np.float32))
        differs = error.reshape(len(numbers), -1).mean(1) > INTERPOLATION_TOLERANCE
    if differs.any():
        record = int(numbers[np.argmax(differs)])
        for shard in split.shards:
            if record < shard.num_records:
                break
            record -= shard.num_records
        raise ValueError(
            f"{store.root / shard.file}: dataset target, row {record}"
            " is not the action applied to its source"
        )
    return len(numbers)
