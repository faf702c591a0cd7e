"""MNIST's file format, written small."""

import struct
from pathlib import Path

import numpy as np

from data_prep.sources.mnist import FILES


def idx_bytes(array: np.ndarray) -> bytes:
    """A uint8 array as the bytes of an IDX file."""
    header = struct.pack(f">2xBB{array.ndim}I", 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_mnist(root: Path, num_train: int = 50, num_test: int = 20) -> Path:
    """Random 28x28 images and labels in torchvision's layout; returns MNIST/raw."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, num in (("train", num_train), ("test", num_test)):
        images, labels = FILES[part]
        (folder / images).write_bytes(idx_bytes(rng.integers(0, 256, (num, 28, 28))))
        (folder / labels).write_bytes(idx_bytes(rng.integers(0, 10, num)))
    return folder
