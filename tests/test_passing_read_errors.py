"""An error of the file system while an input is read says nothing about the input.

It stays an OSError: it is never told as a damaged file, and finished shards stay. Every single
look at a file, opening of it and read of it fails once, in every reader.
"""

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers.dicom import write_series
from helpers.recipes import VolumeRecipe
from helpers.volumes import write_nifti
from PIL import Image

from data_prep.building.builder import build_dataset
from data_prep.building.recipe import ShardPlan
from data_prep.sources.mnist import read_idx
from orbit.core.reading.dicom import find_series, read_series
from orbit.core.reading.meshes import read_obj
from orbit.core.reading.nifti import read_volume
from orbit.core.reading.numpy_files import load_npy, load_npz
from orbit.core.reading.pairs_csv import read_csv_pairs, read_csv_table
from orbit.core.reading.pictures import read_picture
from orbit.core.store.manifest import FrameSpec

VOLUME = np.random.default_rng(0).integers(0, 200, (4, 8, 8), np.uint8)
GREY = Image.fromarray(VOLUME[0])


def as_csv(folder: Path) -> Path:
    np.save(folder / "a.npy", VOLUME[0])
    GREY.save(folder / "b.png")
    (folder / "pairs.csv").write_text("source,target,quarter_turns\na.npy,b.png,1\n")
    return folder / "pairs.csv"


def as_npy(folder: Path) -> Path:
    np.save(folder / "a.npy", VOLUME)
    return folder / "a.npy"


def as_npz(folder: Path) -> Path:
    np.savez_compressed(folder / "a.npz", a=VOLUME)
    return folder / "a.npz"


def as_text(name: str, text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder / name

    return write


def as_dicom(folder: Path) -> Path:
    write_series(folder, VOLUME.astype(np.uint16))
    return folder


def as_dicom_without_preamble(folder: Path) -> Path:
    for path in write_series(folder, VOLUME.astype(np.uint16)):
        content = path.read_bytes()
        length = int.from_bytes(content[140:144], "little")
        path.write_bytes(content[144 + length :])
    return folder


def as_idx(folder: Path) -> Path:
    import gzip

    content = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in VOLUME.shape)
    (folder / "a.gz").write_bytes(gzip.compress(content + VOLUME.tobytes()))
    return folder / "a.gz"


def as_picture(name: str, **settings: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        GREY.save(folder / name, **settings)
        return folder / name

    return write


def whole_series(folder: Path) -> np.ndarray:
    return read_series(find_series(folder, "source.root")[0][0])


READERS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object]]] = {
    "npy": (as_npy, load_npy),
    "npz": (as_npz, load_npz),
    "nifti": (
        lambda folder: write_nifti(folder / "a.nii", VOLUME),
        lambda path: read_volume(path, "nifti"),
    ),
    "packed nifti": (
        lambda folder: write_nifti(folder / "a.nii.gz", VOLUME),
        lambda path: read_volume(path, "nifti"),
    ),
    "dicom": (as_dicom, whole_series),
    "dicom without preamble": (as_dicom_without_preamble, whole_series),
    "pairs": (as_csv, lambda path: read_csv_pairs(path, "c4").frames.read(np.arange(2))),
    "table": (as_text("a.csv", "a,b\n1,2\n"), lambda path: read_csv_table(path, ("a",), ("b",))),
    "obj": (as_text("a.obj", "v 0 0 0\nv 0 0 1\nv 0 1 0\nf 1 2 3\n"), read_obj),
    "idx": (as_idx, read_idx),
    "png": (as_picture("a.png"), lambda path: read_picture(path, True, None)),
    "tiff": (
        as_picture("a.tif", compression="tiff_lzw"),
        lambda path: read_picture(path, True, None),
    ),
}


def flat(found: object) -> list[object]:
    """What a reader gave, to be compared."""
    if isinstance(found, dict):
        found = tuple(found.items())
    if isinstance(found, tuple):
        return [value for part in found for value in flat(part)]
    return [found.tobytes() if isinstance(found, np.ndarray) else found]


@contextmanager
def failing_at(place: int, below: Path, number: int) -> Iterator[list[str]]:
    """Look, opening or read number `place` of a file below a folder fails, once."""
    done: list[str] = []
    plain_open, plain_stat = open, os.stat

    def count(what: str, path: object) -> None:
        if isinstance(path, str | os.PathLike) and Path(path).is_relative_to(below):
            done.append(what)
            if len(done) - 1 == place:
                raise OSError(number, os.strerror(number), os.fspath(path))

    class Counted(io.FileIO):
        def readinto(self, buffer) -> int:
            count("read", self.name)
            return super().readinto(buffer)

        def read(self, size: int = -1) -> bytes:
            count("read", self.name)
            return super().read(size)

        def readall(self) -> bytes:
            count("read", self.name)
            return super().readall()

    def opened(file, mode: str = "r", *arguments, **named):
        count("open", file)
        if isinstance(file, int) or set(mode) - set("rbt") or not Path(file).is_relative_to(below):
            return plain_open(file, mode, *arguments, **named)
        stream = io.BufferedReader(Counted(os.fspath(file)))
        return stream if "b" in mode else io.TextIOWrapper(stream, named.get("encoding"))

    def looked(path, *arguments, **named):
        count("stat", path)
        return plain_stat(path, *arguments, **named)

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(builtins, "open", opened)
        patches.setattr(io, "open", opened)
        patches.setattr(os, "stat", looked)
        yield done


@pytest.mark.parametrize("reader", sorted(READERS))
def test_it_stays_an_error_of_the_file_system(reader: str, tmp_path: Path) -> None:
    write, read = READERS[reader]
    path = write(tmp_path)
    read(path)  # Whatever is imported or kept is so now.
    with failing_at(-1, tmp_path, errno.EIO) as done:
        expected = flat(read(path))
    assert {"open", "read"} <= set(done)
    messages: list[tuple[int, int | None, str]] = []
    for place, what in enumerate(done):
        number = (errno.EIO, errno.ESTALE)[place % 2]
        with failing_at(place, tmp_path, number):
            try:
                found = flat(read(path))  # What only looked ahead may do without.
            except OSError as error:
                found = expected
                messages.append((number, error.errno, str(error)))
        assert found == expected, (place, what)
    assert len(messages) > len(done) / 2
    assert all(number == told for number, told, _ in messages)
    assert all(str(tmp_path) in line for _, _, line in messages)


def test_finished_shards_stay(tmp_path: Path) -> None:
    path = as_npy(tmp_path)

    class Reading(VolumeRecipe):
        def blocks(self, plan: ShardPlan):
            if plan.split == "test":
                load_npy(path)
            return super().blocks(plan)

    frames = FrameSpec((1, 2, 2, 2), "float16", (-2.0, 2.0), (-1.0, 1.0))
    recipe = Reading(num_train=1, num_held_out=1, items_per_shard=1, seed=0, frames=frames)
    out = tmp_path / "out"
    with failing_at(1, path, errno.ESTALE), pytest.raises(OSError, match=r"a\.npy"):
        build_dataset(recipe, out)
    finished = {file: file.stat().st_mtime_ns for file in out.glob("*/shard_*.h5")}
    assert len(finished) == 2
    build_dataset(recipe, out)
    assert {file: file.stat().st_mtime_ns for file in finished} == finished
