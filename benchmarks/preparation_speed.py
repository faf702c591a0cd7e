"""Parts (e) and (f): how fast the program makes datasets and episodes, with its two workers."""

import importlib.util
import statistics
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measuring import Check, PartReport, Preparation, Row, prepare, time_row
from picture_speed import measure_pictures

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


SIZE = ("num_episodes=2000", "dataset.num_test_episodes=1000", "seed=1")
PLANAR_SIZE = ("num_episodes=300", "dataset.num_test_episodes=20", "seed=1")
MUJOCO_SIZE = ("num_episodes=100", "dataset.num_test_episodes=5", "seed=1")
TEAPOT_SIZE = ("num_episodes=10000", "dataset.num_test_episodes=500", "seed=1")


@dataclass(frozen=True)
class World:
    """Words of `prepare.py`; what is counted, transitions or frames, and how many of them a
    second are required, None for no requirement."""

    words: tuple[str, ...]
    unit: str = "transitions"
    required: float | None = 20_000.0

    def count(self, made: Preparation) -> int:
        return made.num_records if self.unit == "transitions" else made.num_frames


WORLDS = {
    "2D Shapes 3x50x50": World(("dataset=shapes_2d", *SIZE)),
    "3D Blocks 3x50x50": World(("dataset=blocks_3d", *SIZE)),
    "Rush Hour 3x50x50": World(("dataset=rush_hour", *SIZE)),
    "planar Reacher 6x129x129": World(("dataset=reacher_planar", *PLANAR_SIZE), required=None),
    "MuJoCo's Reacher 6x129x129": World(("dataset=reacher", *MUJOCO_SIZE), required=None),
    "Teapot 1x64x64, generated": World(("dataset=teapot", *TEAPOT_SIZE), "frames", 1_000.0),
}
MEMORY = ["dataset=blocks_3d", "dataset.num_test_episodes=50"]
MEMORY_EPISODES = (200, 2000)


def measure_worlds(mesh: Path | None = None, num_times: int = 3) -> PartReport:
    """Make episodes of each world anew, several times, and of one world few and many.

    `mesh`, an OBJ file, is turned beside the generated teapot.
    """
    report = PartReport("(f) Episodes of worlds, two workers, start-up included")
    worlds = dict(WORLDS)
    if mesh is not None:
        words = ("dataset=teapot", "source=mesh", f"source.root={mesh}", *TEAPOT_SIZE)
        worlds[f"Teapot 1x64x64, {mesh.name}"] = World(words, "frames", 1_000.0)
    if importlib.util.find_spec("mujoco") is None:
        worlds = {name: each for name, each in worlds.items() if "MuJoCo" not in name}
        report.notes.append("MuJoCo's Reacher was left out: its extra is not installed.")
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out"
        for title, world in worlds.items():
            made = [prepare(out, list(world.words)) for _ in range(num_times)]
            rates = [world.count(each) / each.seconds for each in made]
            title = f"{title}, {world.count(made[0]):,} {world.unit}"
            median = statistics.median(rates)
            report.rows.append(Row(title, median, max(rates), f"{world.unit}/s"))
            if world.required is not None:
                report.checks.append(Check(f"{title}, /s", world.required, median))
        for num_episodes in MEMORY_EPISODES:
            peak = prepare(out, [*MEMORY, f"num_episodes={num_episodes}"]).peak_mib
            title = f"peak memory of a process, {100 * num_episodes:,} transitions of 3D Blocks"
            report.rows.append(time_row(title, [peak], "MiB"))
    report.notes.append("Most of the peak memory is torch's libraries, mapped from their files.")
    return report
