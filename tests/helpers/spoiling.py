"""Faults planted into datasets."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import h5py

from orbit.core.files.atomic import sha256_of_file
from orbit.core.store.manifest import read_manifest, write_manifest


def refit_manifest(root: Path) -> None:
    """Make size and checksum of every shard fit what is there now."""
    manifest = read_manifest(root)
    splits = {}
    for name, split in manifest.splits.items():
        shards = tuple(
            dataclasses.replace(
                shard,
                size=(root / shard.file).stat().st_size,
                sha256=sha256_of_file(root / shard.file),
            )
            for shard in split.shards
        )
        splits[name] = dataclasses.replace(split, shards=shards)
    write_manifest(root, dataclasses.replace(manifest, splits=splits))


def edit(path: Path, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "r+") as file:
        change(file)
