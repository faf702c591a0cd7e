"""Parts (e) and (f): how fast the program makes datasets and episodes, with its two workers.

A folder of pictures is prepared at 3x256x256 under quarter turns, beside Pillow alone.
Pillow's contender decodes, resizes, turns, hashes and writes the same frames in as many processes,
and nothing else: no checks, no labels, no statistics, no records.
"""

import hashlib
import importlib.util
import multiprocessing
import os
import statistics
import struct
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measuring import (
    NUM_WORKERS,
    Check,
    PartReport,
    Preparation,
    Row,
    prepare,
    ratio,
    take_turns,
    time_row,
)
from PIL import Image

NUM_DIFFERENT, NUM_COPIES = 40, 100
PICTURE, PHOTO = 256, (500, 375)
QUALITY = 90
MIN_SHARE = 0.6
TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)


def measure_pictures(folder: Path, num_times: int) -> tuple[list[Row], Check]:
    """Pictures a second of both, and the share that preparation reaches, start-up included."""
    photos = write_photos(folder / "photos", NUM_DIFFERENT, NUM_COPIES)
    words = ["dataset=image_folder", f"source.root={photos}", f"source.size={PICTURE}"]
    num = NUM_DIFFERENT * NUM_COPIES

    def program() -> float:
        return num / prepare(folder / "out", words).seconds

    def pillow() -> float:
        return num / pillow_alone(photos, folder / "frames")

    names = ("photographs to 3x256x256 under C4", "the same by Pillow alone")
    rates = take_turns(dict(zip(names, (program, pillow), strict=True)), num_times, warm_up=False)
    rows = [
        Row(name, float(np.median(values)), max(values), "pictures/s")
        for name, values in rates.items()
    ]
    return rows, Check("pictures, share of Pillow alone", MIN_SHARE, ratio(rates, *names))


def write_photos(root: Path, num_different: int, num_copies: int) -> Path:
    """JPEG files of 500x375 pixels: smooth colours with the grain of a camera."""
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    width, height = PHOTO
    for number in range(num_different):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
        smooth = np.asarray(coarse.resize(PHOTO, Image.Resampling.BICUBIC), np.int16)
        grain = rng.integers(-12, 13, (height, width, 3))
        photo = Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8))
        first = root / f"{number:03}_000.jpg"
        photo.save(first, quality=QUALITY)
        for copy in range(1, num_copies):
            (root / f"{number:03}_{copy:03}.jpg").write_bytes(first.read_bytes())
    return root


def pillow_alone(photos: Path, out: Path, num_workers: int = NUM_WORKERS) -> float:
    """Seconds that it takes, start of the processes included."""
    out.mkdir(exist_ok=True)
    started = time.perf_counter()
    files = sorted(photos.iterdir())
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, context) as pool:
        places = [out / f"{worker}.raw" for worker in range(num_workers)]
        list(
            pool.map(_write, [files[worker::num_workers] for worker in range(num_workers)], places)
        )
    return time.perf_counter() - started


def _write(files: Sequence[Path], out: Path) -> None:
    digest = hashlib.sha256()
    with open(out, "wb") as target:
        for file in files:
            with open(file, "rb") as stream:
                hashlib.file_digest(stream, "sha256")
            with Image.open(file) as photo:
                upright = photo.convert("RGB")
            side = min(upright.size)
            left, top = ((extent - side) / 2 for extent in upright.size)
            box = (left, top, left + side, top + side)
            picture = upright.resize((PICTURE, PICTURE), Image.Resampling.BICUBIC, box)
            for frame in (picture, *(picture.transpose(turn) for turn in TURNS)):
                data = frame.tobytes()
                digest.update(data)
                target.write(data)
        target.flush()
        os.fsync(target.fileno())


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
    from data_prep.sources.mnist import FILES

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
