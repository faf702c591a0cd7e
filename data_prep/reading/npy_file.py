"""One NPY file as a volume, mapped into memory."""

import math
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np
from numpy.lib.format import MAGIC_PREFIX, read_array_header_1_0, read_array_header_2_0

from pipeline.files.hiccups import raise_passing

UNREADABLE = (OSError, EOFError, ValueError, TypeError, SyntaxError, OverflowError, TokenError)
"""What NumPy raises for files that are no arrays."""


def load_npy(path: Path) -> np.ndarray:
    """The array of an NPY file, whatever its shape and type, mapped into memory.

    Raises FileNotFoundError, or ValueError naming the file if it is not NPY, is cut off,
    goes on after its end or holds objects; OSError if it cannot be read just now.
    """
    try:
        with open(path, "rb") as file:
            length, size = stated_length(file), path.stat().st_size
        if length != size:
            raise ValueError(f"it has {size} bytes where its header says {length}")
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing") from None
    except UNREADABLE as error:
        raise_passing(error, path)
        cause = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is not a readable NPY file: {cause}") from None
    return array


def stated_length(stream: IO[bytes]) -> int:
    """Bytes of the header that the stream begins with and of the array that it speaks of.

    Raises one of `UNREADABLE` if that is no header of an array of plain values.
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
        raise ValueError("it holds Python objects; arrays of numbers or text are needed")
    if any(length < 0 for length in shape):
        raise ValueError(f"its header states a shape of {shape}")
    return int(stream.tell() + math.prod(shape) * dtype.itemsize)


def open_npy(path: Path) -> np.ndarray:
    """The volume (D, H, W) of an NPY file; a leading channel of 1 is dropped.

    Raises as `load_npy`, and ValueError for other than one volume of real numbers or
    booleans.
    """
    array = load_npy(path)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3 or not array.size:
        raise ValueError(f"{path} holds an array of shape {array.shape}, not (D, H, W)")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{path} holds values of type {array.dtype}, not grey values")
    return array
