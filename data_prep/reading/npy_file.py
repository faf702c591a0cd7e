"""One NPY file as a volume, mapped into memory."""

from pathlib import Path
from tokenize import TokenError

import numpy as np


def load_npy(path: Path) -> np.ndarray:
    """The array of an NPY file, whatever its shape and type, mapped into memory.

    Raises FileNotFoundError, or ValueError naming the file if it is not NPY, is cut off,
    goes on after its end or holds objects.
    """
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing") from None
    except (OSError, EOFError, ValueError, TokenError) as error:
        # NumPy takes any content but its own for pickled.
        cause = "it does not begin as NPY files do" if "pickle" in str(error) else error
        raise ValueError(f"{path} is not a readable NPY file: {cause}") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} is not an NPY file but an archive")
    if isinstance(array, np.memmap):
        length, size = array.offset + array.nbytes, path.stat().st_size
        if length != size:
            raise ValueError(f"{path} has {size} bytes where its header says {length}")
    return array


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
