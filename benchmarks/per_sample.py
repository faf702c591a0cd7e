"""The usual way to feed torch: a Dataset that reads one record at a time, and a DataLoader."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from orbit.core.store.manifest import SplitInfo
from orbit.core.store.shard import map_shard

Sample = tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]


class ShardSamples(Dataset[Sample]):
    """Records of shard files, read from memory maps or through h5py."""

    def __init__(self, files: list[Path], num_records: list[int], through: str) -> None:
        self.files, self.through = files, through
        self._ends = np.cumsum(num_records)
        self._opened: list[Any] | None = None

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, record: int) -> Sample:
        if self._opened is None:
            self._opened = [self._open(file) for file in self.files]
        index = int(np.searchsorted(self._ends, record, side="right"))
        shard = self._opened[index]
        row = record - (int(self._ends[index - 1]) if index else 0)
        # A copy each: torch warns of read-only arrays, and h5py makes its own anyway.
        source = np.array(shard["frames"][int(shard["source"][row])])
        target = np.array(shard["frames"][int(shard["target"][row])])
        action = np.array(shard["action"][row])
        return (
            torch.from_numpy(source),
            torch.from_numpy(target),
            torch.from_numpy(action),
            int(shard["label"][row]),
        )

    def _open(self, file: Path) -> Any:
        if self.through == "map":
            return map_shard(file)
        # Opened once: to look a dataset up by name takes longer than to read a row of it.
        opened = h5py.File(file, "r", locking=False)
        return {name: opened[name] for name in ("frames", "source", "target", "action", "label")}


def per_sample_loader(
    root: Path, split: SplitInfo, through: str, batch: int, num_workers: int
) -> DataLoader[Sample]:
    """A shuffling DataLoader over a split; `through` is `map` or `h5py`."""
    files = [root / shard.file for shard in split.shards]
    return DataLoader(
        ShardSamples(files, [shard.num_records for shard in split.shards], through),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        multiprocessing_context="spawn" if num_workers else None,
    )
