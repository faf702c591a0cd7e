"""One NPZ file as arrays: a zip archive whose headers are checked before anything is unpacked."""

import math
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np

from data_prep.reading.expansion import check_expansion

DAMAGES = (
    *(OSError, EOFError, ValueError, TypeError, AttributeError, KeyError, SyntaxError),
    *(RuntimeError, NotImplementedError, MemoryError, TokenError),
    *(zipfile.BadZipFile, zlib.error),
)


def load_npz(path: Path, wanted: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an archive by name: those `wanted`, as far as they are there, or all.

    Raises FileNotFoundError, or ValueError naming the file if it is no whole archive of
    arrays, if an array's header and length differ, if it holds objects, a name twice or
    something else than arrays, or unpacks to suspiciously much.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            is_array = file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX
        if is_array:
            raise ValueError(f"{path} holds a single array, as NPY files do, and is no archive")
        raise ValueError(f"{path} is not a readable npz file: it is no whole zip archive")
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(path, archive, wanted)
            return {name: _read(path, archive, info) for name, info in members.items()}
    except DAMAGES as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        if str(path) in cause:
            raise ValueError(cause) from None
        raise ValueError(f"{path} is not a readable npz file: {cause}") from None


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
        length = _stated_length(path, name, stream)
        if length != info.file_size:
            raise ValueError(
                f"{path}: {name} has {info.file_size} bytes where its header says {length}"
            )
    with archive.open(info) as stream:
        array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):
            raise ValueError(f"{path}: {name} goes on after its end")
    return array


def _stated_length(path: Path, name: str, stream: IO[bytes]) -> int:
    """Bytes of the header and of the array that it speaks of."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{name} is of version {version} of the NPY format")
    read_header = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError(f"{path} holds Python objects; arrays of numbers or text are needed")
    if any(length < 0 for length in shape):
        raise ValueError(f"{name} has a shape of {shape}")
    return stream.tell() + math.prod(shape) * dtype.itemsize
