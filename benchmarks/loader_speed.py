"""Part (a): pairs a second of a bare `np.take`, of the loader, and of per-sample DataLoaders."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Check, Lap, PartReport, endless, rate_rows, ratio, repeated, take_turns
from per_sample import per_sample_loader

from orbit.core.store.reader import PairStore
from orbit.core.store.shard import map_shard
from pipeline.data.batches import TrainBatches, make_train_order
from pipeline.data.loader import Loader, LoaderConfig

TAKE, LOADER = "np.take from the map", "the loader"
BY_MAP, BY_H5PY = "DataLoader over the map", "DataLoader over h5py"
WORKERS = (0, 2)
MIN_PAIRS_PER_S = 250_000.0


def measure_loader(
    small: Path, large: Path, num_rounds: int = 7, seconds: float = 0.3
) -> PartReport:
    """`small` is a dataset of 28x28 images, `large` one of 3x64x64."""
    torch.set_num_threads(1)
    report = PartReport("(a) Loading")
    for data, batch in ((small, 64), (small, 256), (large, 256)):
        shape = "x".join(map(str, PairStore(data).manifest.frames.shape))
        label = f"{shape}, batch {batch}: "
        rates = take_turns(contenders(data, batch, seconds), num_rounds)
        report.rows += rate_rows(rates, label)
        share = ratio(rates, LOADER, TAKE)
        if data == large:
            report.checks.append(Check(f"{label}loader / np.take", 0.25, share))
        else:
            report.notes.append(f"{label}the loader reaches {share:.0%} of np.take.")
            for name, required in ((BY_MAP, 3.0), (BY_H5PY, 8.0)):
                found = min(ratio(rates, LOADER, f"{name}, {num} workers") for num in WORKERS)
                check = Check(f"{label}loader / {name}, at its best", required, found)
                report.checks.append(check)
        if (data, batch) == (small, 64):
            median = next(row.median for row in report.rows if row.name == label + LOADER)
            report.checks.append(Check(f"{label}loader, pairs/s", MIN_PAIRS_PER_S, median))
    return report


def contenders(data: Path, batch: int, seconds: float) -> dict[str, Lap]:
    """All ways to read shuffled training records of a dataset."""
    store = PairStore(data)
    split = store.manifest.split("train")
    laps = {
        TAKE: repeated(bare_take([data / shard.file for shard in split.shards], batch), seconds)
    }
    reader = store.split("train")
    order = make_train_order(reader, "stored", 0, batch, "drop")
    batches = TrainBatches(reader, order, "stored", 0, 1)
    loader = Loader(batches, 0, None, torch.device("cpu"), LoaderConfig())
    laps[LOADER] = repeated(lambda: len(next(loader).label), seconds)
    for name, through in ((BY_MAP, "map"), (BY_H5PY, "h5py")):
        for num_workers in WORKERS:
            samples = endless(per_sample_loader(data, split, through, batch, num_workers))
            step = _count_labels(samples)
            laps[f"{name}, {num_workers} workers"] = repeated(step, seconds)
    return laps


def bare_take(files: Sequence[Path], batch: int) -> Callable[[], int]:
    """Source and target frames of random rows into one buffer each, and nothing else.

    All rows of a batch come from one shard, the next batch from the next shard.
    """
    shards = [map_shard(file)["frames"] for file in files]
    source, target = (np.empty((batch, *shards[0].shape[1:]), shards[0].dtype) for _ in range(2))
    num_rows = min(len(frames) for frames in shards)
    rows = np.random.default_rng(0).integers(0, num_rows, (1021, 2, batch))
    state = {"step": 0}

    def step() -> int:
        frames = shards[state["step"] % len(shards)]
        source_rows, target_rows = rows[state["step"] % len(rows)]
        np.take(frames, source_rows, axis=0, out=source, mode="clip")
        np.take(frames, target_rows, axis=0, out=target, mode="clip")
        state["step"] += 1
        return batch

    return step


def _count_labels(samples: Iterator[Any]) -> Callable[[], int]:
    return lambda: len(next(samples)[-1])
