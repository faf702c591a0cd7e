"""Part (j): stored, on-line and fresh pairs: bytes on disk, the loader's and the trainer's rate."""

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from measuring import PartReport, Row, rate_rows, ratio, repeated, take_turns
from synthetic import make_dataset
from trainer_laps import TrainerLaps, alone

from orbit.core.store.manifest import read_manifest

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
