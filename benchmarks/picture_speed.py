"""A folder of pictures prepared at 3x256x256 under quarter turns, beside Pillow alone.

Pillow's contender decodes, resizes, turns, hashes and writes the same frames in as many processes,
and nothing else: no checks, no labels, no statistics, no records.
"""

import hashlib
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from measuring import NUM_WORKERS, Check, Row, prepare, ratio, take_turns
from PIL import Image

NUM_DIFFERENT, NUM_COPIES = 40, 100
SIZE, PHOTO = 256, (500, 375)
QUALITY = 90
MIN_SHARE = 0.6
TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)


def measure_pictures(folder: Path, num_times: int) -> tuple[list[Row], Check]:
    """Pictures a second of both, and the share that preparation reaches, start-up included."""
    photos = write_photos(folder / "photos", NUM_DIFFERENT, NUM_COPIES)
    words = ["dataset=image_folder", f"source.root={photos}", f"source.size={SIZE}"]
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
            picture = upright.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box)
            for frame in (picture, *(picture.transpose(turn) for turn in TURNS)):
                data = frame.tobytes()
                digest.update(data)
                target.write(data)
        target.flush()
        os.fsync(target.fileno())
