"""Part (e): how fast datasets are made, by the program and with its default two workers."""

import statistics
import struct
import tempfile
from pathlib import Path

import numpy as np
from measuring import Check, PartReport, Row, time_row
from picture_speed import measure_pictures
from preparing import prepare

from data_prep.sources.mnist import FILES

MNIST_LIMIT_S = 20.0
VOLUMES_LIMIT = 300.0
MNIST_SIZES = {"train": 60_000, "test": 10_000}

GENERATED = {
    "volumes 1x32x32x32 under SO(3), phantom": ["dataset=brain_mri_so3", "num_samples=1500"],
    "volumes 1x32x32x32 under C4, phantom": ["dataset=brain_mri", "num_samples=2000"],
    "planes 3x64x64 under C4, drawn": ["dataset=planes", "num_samples=2000"],
    "planes 3x64x64 under SO(3), rendered": ["dataset=planes_views", "num_samples=1000"],
}


def measure_preparation(mnist_root: Path | None, num_times: int = 3) -> PartReport:
    """Prepare each dataset anew, several times; MNIST's files are noise unless `mnist_root`."""
    report = PartReport("(e) Preparation, two workers, start-up included")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = mnist_root or _write_noise(folder / "mnist")
        # All orbits: 240,000 training and validation pairs beside the 40,000 of the test.
        words = ["dataset=rotated_mnist", f"source.root={root}", "dataset.val_pairs=orbit"]
        seconds = [prepare(folder / "out", words).seconds for _ in range(num_times)]
        report.rows.append(time_row("rotated MNIST, 280,000 pairs", seconds, "s"))
        report.checks.append(
            Check("rotated MNIST, s", MNIST_LIMIT_S, statistics.median(seconds), True)
        )
        for title, words in GENERATED.items():
            rates = []
            for _ in range(num_times):
                made = prepare(folder / "out", words)
                rates.append(made.num_frames / made.seconds)
            median = statistics.median(rates)
            report.rows.append(Row(title, median, max(rates), "frames/s"))
            if "1x32x32x32 under SO(3)" in title:
                report.checks.append(Check("volumes under SO(3), frames/s", VOLUMES_LIMIT, median))
        rows, check = measure_pictures(folder, num_times)
        report.rows += rows
        report.checks.append(check)
    if mnist_root is None:
        report.notes.append("MNIST's files were noise of the real sizes.")
    return report


def _write_noise(root: Path) -> Path:
    """MNIST's files in torchvision's layout, of noise."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, (images, labels) in FILES.items():
        num = MNIST_SIZES[part]
        header = struct.pack(">2xBB3I", 8, 3, num, 28, 28)
        pixels = rng.integers(0, 256, (num, 28, 28), np.uint8)
        (folder / images).write_bytes(header + pixels.tobytes())
        header = struct.pack(">2xBBI", 8, 1, num)
        (folder / labels).write_bytes(header + rng.integers(0, 10, num, np.uint8).tobytes())
    return root
