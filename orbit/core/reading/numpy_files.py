"""NPY files mapped into memory, and NPZ archives that are refused when they unpack to too much."""

import math
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np
from numpy.lib.format import MAGIC_PREFIX, read_array_header_1_0, read_array_header_2_0

from orbit.core.files.waiting import raise_passing

UNREADABLE = (OSError, EOFError, ValueError, TypeError, SyntaxError, OverflowError, TokenError)
"""What NumPy raises for files that are not arrays."""


def load_npy(path: Path) -> np.ndarray:
    """The array of an NPY file, whatever its shape and type, mapped into memory.

    Raises FileNotFoundError, or ValueError naming the file if it is not NPY, is cut off, continues
    after its end or holds objects; OSError if it cannot be read at the moment.
    """
    try:
        with open(path, "rb") as file:
            length, size = stated_length(file), path.stat().st_size
        if length != size:
            raise ValueError(f"it has {size} bytes, but its header says {length}")
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing") from None
    except UNREADABLE as error:
        raise_passing(error, path)
        cause = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is not a readable NPY file: {cause}") from None
    return array


def stated_length(stream: IO[bytes]) -> int:
    """Bytes of the header at the start of the stream plus those of the array that it describes.

    Raises one of `UNREADABLE` if it is not the header of an array of plain values.
    """
    start = stream.read(len(MAGIC_PREFIX))
    if start != MAGIC_PREFIX:
        is_archive = start.startswith(b"PK")
        what = "it is an archive" if is_archive else "it does not begin as NPY files do"
        raise ValueError(what)
    version = tuple(stream.read(2))
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format is unknown")
    read = read_array_header_1_0 if version == (1, 0) else read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects; it must hold arrays of numbers or text")
    if any(length < 0 for length in shape):
        raise ValueError(f"its header states a shape of {shape}")
    return int(stream.tell() + math.prod(shape) * dtype.itemsize)


def open_npy(path: Path) -> np.ndarray:
    """The volume (D, H, W) of an NPY file; a leading axis of length 1 is dropped.

    Raises as `load_npy`, and ValueError for anything but one volume of real numbers or booleans.
    """
    array = load_npy(path)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3 or not array.size:
        raise ValueError(f"{path} holds an array of shape {array.shape}, not (D, H, W)")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{path} holds values of type {array.dtype}, not grey values")
    return array


HARMLESS_BYTES = 512 * 2**20
MAX_RATIO = 200


def check_expansion(path: Path, packed: int, unpacked: int, advice: str) -> None:
    """Refuse a file of `packed` bytes that unpacks to far more, before it does.

    Half a GiB is always allowed, and 200 times the file's size (blank frames may compress 1000
    times). `advice` says in which other form to give the file. Raises ValueError.
    """
    if unpacked > max(HARMLESS_BYTES, MAX_RATIO * packed):
        raise ValueError(
            f"{path} unpacks to {unpacked / 2**30:.3g} GiB, {unpacked // max(packed, 1)} times"
            f" its size; if that is right, {advice}"
        )


DAMAGES = (
    *UNREADABLE,
    *(AttributeError, KeyError, RuntimeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)


def load_npz(path: Path, wanted: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an archive by name: those in `wanted` that exist, or all.

    Raises FileNotFoundError, or ValueError naming the file if it is not a complete archive of
    arrays, if an array's header and length differ, if it holds objects, a name twice or anything
    but arrays, or unpacks to suspiciously much; OSError if it cannot be read at the moment.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(path, archive, wanted)
            return {name: _read(path, archive, info) for name, info in members.items()}
    except DAMAGES as error:
        raise_passing(error, path)
        if isinstance(error, zipfile.BadZipFile) and not zipfile.is_zipfile(path):
            raise ValueError(_why_no_archive(path)) from None
        cause = " ".join(str(error).split()) or type(error).__name__
        if str(path) in cause:
            raise ValueError(cause) from None
        raise ValueError(f"{path} is not a readable npz file: {cause}") from None


def _why_no_archive(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(len(np.lib.format.MAGIC_PREFIX))
    if start == np.lib.format.MAGIC_PREFIX:
        return f"{path} holds a single array, as NPY files do, and is not an archive"
    return f"{path} is not a readable npz file: it is not a complete zip archive"


def _members(
    path: Path, archive: zipfile.ZipFile, wanted: Collection[str] | None
) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in members:
            raise ValueError(f"{path} holds {name} twice")
        members[name] = info
    if wanted is not None:
        members = {name: info for name, info in members.items() if name in wanted}
    unpacked = sum(info.file_size for info in members.values())
    check_expansion(path, path.stat().st_size, unpacked, "save it without compression")
    for name, info in members.items():
        if not info.filename.endswith(".npy"):
            raise ValueError(f"{path}: {name} is not an array")
    return members


def _read(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """One array; its stream is read to the end, where its checksum is."""
    name = info.filename.removesuffix(".npy")
    with archive.open(info) as stream:
        length = stated_length(stream)
        if length != info.file_size:
            raise ValueError(
                f"{path}: {name} has {info.file_size} bytes, but its header says {length}"
            )
    with archive.open(info) as stream:
        array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):
            raise ValueError(f"{path}: {name} continues after its end")
    return array
