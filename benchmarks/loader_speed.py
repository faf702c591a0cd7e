"""Parts (a) and (j): pairs a second of the loader, and of stored, on-line and fresh pairs.

The loader stands beside a bare `np.take` and per-sample DataLoaders: the usual way to feed torch is
a Dataset that reads one record at a time. Kinds of pairs are compared by bytes on disk, the
loader's and the trainer's rate.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from measuring import Check, Lap, PartReport, Row, endless, rate_rows, ratio, repeated, take_turns
from synthetic import make_dataset
from torch.utils.data import DataLoader, Dataset
from trainer_laps import TrainerLaps, alone

from orbit.core.store.manifest import SplitInfo, read_manifest
from orbit.core.store.reader import PairStore
from orbit.core.store.shard import map_shard
from pipeline.data.batches import TrainBatches, make_train_order
from pipeline.data.loader import Loader, LoaderConfig

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


WAYS = ("stored", "online", "fresh")
NUM_DRAWN = 8


@dataclass(frozen=True)
class Setting:
    """A group, frames on which it acts, how many of them, and words of `train.py`."""

    group: str
    shape: tuple[int, ...]
    num_images: int
    words: tuple[str, ...]


SETTINGS = (
    Setting("so2", (1, 28, 28), 6_000, ("experiment=rotated_mnist_so2",)),
    Setting("so3", (1, 32, 32, 32), 240, ("experiment=brain_mri_so3",)),
)


def measure_pairs(
    settings: tuple[Setting, ...] = SETTINGS,
    num_rounds: int = 5,
    num_steps: int = 10,
    seconds: float = 0.3,
) -> PartReport:
    """Datasets of 8 drawn elements an image beside such as hold sources alone, one thread."""
    torch.set_num_threads(1)
    report = PartReport("(j) Stored, on-line and fresh pairs, one thread")
    for setting in settings:
        with tempfile.TemporaryDirectory() as folder:
            _measure(report, setting, Path(folder), num_rounds, num_steps, seconds)
    return report


def _measure(
    report: PartReport,
    setting: Setting,
    folder: Path,
    num_rounds: int,
    num_steps: int,
    seconds: float,
) -> None:
    label = f"{setting.group}, {'x'.join(map(str, setting.shape))}: "
    held_out = max(2, setting.num_images // 10)
    data = {
        train_pairs: make_dataset(
            folder / train_pairs,
            setting.shape,
            setting.num_images,
            held_out,
            setting.group,
            train_pairs,
            NUM_DRAWN,
        )
        for train_pairs in ("drawn", "sources")
    }
    for name, out in data.items():
        shards = read_manifest(out).split("train").shards
        size = sum(shard.size for shard in shards) / 2**20
        report.rows.append(Row(f"{label}training split, {name}", size, size, "MiB"))
    trainers = {}
    for way in WAYS:
        kept = data["sources" if way == "fresh" else "drawn"]
        words = [*setting.words, "compile=false", "collapse.action=warn", f"pairs={way}"]
        trainers[way] = TrainerLaps(kept, folder / way, words, alone(), num_steps)
    rates = take_turns(
        {
            f"loader, {way}": repeated(lambda laps=laps: len(next(laps.loader).label), seconds)
            for way, laps in trainers.items()
        },
        num_rounds,
    )
    rates |= take_turns({f"trainer, {way}": laps for way, laps in trainers.items()}, num_rounds)
    report.rows += rate_rows(rates, label)
    gains = [ratio(rates, f"{what}, fresh", f"{what}, online") for what in ("loader", "trainer")]
    waits = [statistics.median(trainers[way].wait_shares) for way in ("online", "fresh")]
    report.notes.append(
        f"{label}with fresh pairs the loader has {gains[0]:.2f} times the rate of on-line pairs and"
        f" the trainer {gains[1]:.2f} times; it waits {waits[1]:.1%} of the time and not"
        f" {waits[0]:.1%}."
    )
