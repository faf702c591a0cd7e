"""MNIST in torchvision's folder layout, ROOT/MNIST/raw/*-ubyte, gzipped or not; small digits."""

import gzip
import hashlib
import math
import struct
import zlib
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch.nn.functional import interpolate

from data_prep.settings.sources import DigitsSourceConfig, MnistSourceConfig
from orbit.core.files.atomic import sha256_of_file
from orbit.core.plugins import Kind
from orbit.core.reading.numpy_files import check_expansion

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
IDX_UNSIGNED_BYTE = 0x08


class MnistSource:
    """The four IDX files of MNIST; images 28x28, parts `train` and `test`.

    Only those with one of `labels`, in their order, if any are given. Raises FileNotFoundError if
    the folder or a file is missing, ValueError for a file that is not IDX, is cut off, or holds
    images of another shape.
    """

    image_shape = (1, 28, 28)
    is_binary = False

    def __init__(self, root: Path, labels: tuple[int, ...] | None = None) -> None:
        if not root.is_dir():
            raise FileNotFoundError(f"source.root={root}: there is no such directory")
        self.folder = root / "MNIST" / "raw"
        if not self.folder.is_dir():
            raise FileNotFoundError(
                f"source.root={root} holds no MNIST/raw; source.download=true fetches it"
            )
        self.label_meaning = label_meaning(labels)
        self._labels = labels
        self.num_images = {}
        for part, (images_name, labels_name) in FILES.items():
            images, found = (
                _open_idx(self.folder, images_name),
                _open_idx(self.folder, labels_name),
            )
            if images.shape[1:] != self.image_shape[1:]:
                raise ValueError(
                    f"{self.folder / images_name} holds arrays of shape {images.shape[1:]},"
                    f" not images of {self.image_shape[1:]}"
                )
            if found.shape != images.shape[:1]:
                raise ValueError(
                    f"{self.folder / labels_name} holds {found.shape} labels"
                    f" for {len(images)} images"
                )
            self.num_images[part] = len(_kept(self.folder, part, labels))

    def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images_name, labels_name = FILES[part]
        places = _kept(self.folder, part, self._labels)[indices]
        images = _open_idx(self.folder, images_name)[places]
        labels = _open_idx(self.folder, labels_name)[places]
        return images[:, None], labels.astype(np.int64)

    def subjects(self, part: str) -> None:
        return None

    def checksums(self) -> dict[str, str]:
        return dict(_checksums(self.folder))


def download_mnist(root: Path) -> None:
    """Fetch MNIST with torchvision; ValueError with one line if that fails."""
    from torchvision.datasets import MNIST

    try:
        for is_train in (True, False):
            MNIST(str(root), train=is_train, download=True)
    except (RuntimeError, OSError) as error:
        raise ValueError(f"MNIST could not be downloaded to {root}: {error}") from None


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes, mapped into memory (unpacked into it if gzipped).

    Raises ValueError naming the file if its header or its length is wrong, or if it unpacks
    to suspiciously much.
    """
    if path.suffix != ".gz":
        with open(path, "rb") as file:
            shape, start = _read_shape(path, file)
        expected, size = start + math.prod(shape), path.stat().st_size
        if size != expected:
            raise ValueError(f"{path} has {size} bytes, but its header says {expected}")
        return (
            np.memmap(path, np.uint8, "r", start, shape) if size > start else np.empty(shape, "u1")
        )
    try:
        with gzip.open(path) as file:
            shape, start = _read_shape(path, file)
            length = math.prod(shape)
            check_expansion(path, path.stat().st_size, length, "unpack it yourself")
            content = file.read(length)
            if len(content) < length or file.read(1):
                more = "more" if len(content) == length else f"{start + len(content)} bytes"
                raise ValueError(f"{path} holds {more} where its header says {start + length}")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be unpacked: {error}") from None
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read_shape(path: Path, file: IO[bytes] | gzip.GzipFile) -> tuple[tuple[int, ...], int]:
    """The shape that a header states, and the header's length."""
    mark = file.read(4)
    if len(mark) < 4 or mark[:2] != b"\0\0" or mark[2] != IDX_UNSIGNED_BYTE:
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    num_axes = mark[3]
    lengths = file.read(4 * num_axes) if num_axes in (1, 2, 3) else b""
    if not lengths or len(lengths) < 4 * num_axes:
        raise ValueError(f"{path} is not an IDX file of 1 to 3 axes")
    return struct.unpack(f">{num_axes}I", lengths), 4 + len(lengths)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise FileNotFoundError(f"{folder / name} is missing")


@lru_cache(maxsize=8)
def _open_idx(folder: Path, name: str) -> np.ndarray:
    return read_idx(_find(folder, name))


@lru_cache(maxsize=8)
def _kept(folder: Path, part: str, labels: tuple[int, ...] | None) -> np.ndarray:
    return places_of(_open_idx(folder, FILES[part][1]), labels)


def places_of(found: np.ndarray, labels: tuple[int, ...] | None) -> np.ndarray:
    """Positions (K,) int64 of the values (N,) that are among the labels, of all for None."""
    return np.arange(len(found)) if labels is None else np.flatnonzero(np.isin(found, labels))


def label_meaning(labels: tuple[int, ...] | None) -> str:
    """What the labels of digits are, in words."""
    return "digit, 0 to 9" if labels is None else f"digit: {', '.join(map(str, sorted(labels)))}"


@lru_cache(maxsize=8)
def _checksums(folder: Path) -> dict[str, str]:
    names = [name for pair in FILES.values() for name in pair]
    return {name: sha256_of_file(_find(folder, name)) for name in names}


NUM_IMAGES = 1797
UPSAMPLING = 2
MAXIMUM = 16.0


class DigitsSource:
    """8x8 images upsampled bilinearly to 16x16, grey values 0..16 mapped to 0..255.

    Only those with one of `labels`, in their order, if any are given.
    """

    image_shape = (1, 8 * UPSAMPLING, 8 * UPSAMPLING)
    is_binary = False

    def __init__(self, labels: tuple[int, ...] | None = None) -> None:
        self.label_meaning = label_meaning(labels)
        self._places = None if labels is None else places_of(_load()[1], labels)
        self.num_images = {"all": NUM_IMAGES if self._places is None else len(self._places)}

    def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images, labels = _load()
        places = indices if self._places is None else self._places[indices]
        return images[places], labels[places]

    def subjects(self, part: str) -> None:
        return None

    def checksums(self) -> dict[str, str]:
        images, labels = _load()
        return {"digits": hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()}


@lru_cache(maxsize=1)
def _load() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = torch.from_numpy(digits.images).to(torch.float64).unsqueeze(1)
    large = interpolate(small, scale_factor=UPSAMPLING, mode="bilinear", align_corners=False)
    grey = (large * (255.0 / MAXIMUM)).round().clamp(0, 255).to(torch.uint8)
    return grey.numpy(), digits.target.astype(np.int64)


def _open_mnist(config: MnistSourceConfig, seed: int, num_samples: int | None) -> MnistSource:
    if config.root is None:
        raise ValueError("give source.root=DIR, the folder that holds MNIST/raw")
    root = Path(config.root)
    if config.download:
        download_mnist(root)
    return MnistSource(root, config.labels)


def _open_digits(config: DigitsSourceConfig, seed: int, num_samples: int | None) -> DigitsSource:
    return DigitsSource(config.labels)


MNIST = Kind("torchvision", MnistSourceConfig, _open_mnist)
DIGITS = Kind("sklearn", DigitsSourceConfig, _open_digits)
