"""One NPZ file as arrays: a zip archive whose headers are checked before anything is unpacked."""

import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np

from data_prep.reading.expansion import check_expansion
from data_prep.reading.npy_file import UNREADABLE, stated_length
from pipeline.files.hiccups import raise_passing

DAMAGES = (
    *UNREADABLE,
    *(AttributeError, KeyError, RuntimeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)


def load_npz(path: Path, wanted: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an archive by name: those `wanted`, as far as they are there, or all.

    Raises FileNotFoundError, or ValueError naming the file if it is no whole archive of
    arrays, if an array's header and length differ, if it holds objects, a name twice or
    something else than arrays, or unpacks to suspiciously much; OSError if it cannot be read
    just now.
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
        return f"{path} holds a single array, as NPY files do, and is no archive"
    return f"{path} is not a readable npz file: it is no whole zip archive"


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
                f"{path}: {name} has {info.file_size} bytes where its header says {length}"
            )
    with archive.open(info) as stream:
        array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):
            raise ValueError(f"{path}: {name} goes on after its end")
    return array
