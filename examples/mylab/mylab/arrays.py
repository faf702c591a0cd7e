"""A source: an npz file of `images` (N, C, H, W) or (N, H, W), uint8, and `labels` (N,)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from orbit.api import FilePath, Kind


@dataclass(frozen=True)
class ArraysConfig:
    """`root` is the file."""

    name: Literal["arrays"]
    root: FilePath | None = None


class ArraysSource:
    """See `orbit.api.ImageSource`: one part, in which every image is a group of its own."""

    is_binary = False
    label_meaning = "the file's labels"

    def __init__(self, config: ArraysConfig, seed: int, num_samples: int | None) -> None:
        if config.root is None:
            raise ValueError("give source.root=FILE.npz")
        self._path = Path(config.root)
        with np.load(self._path, allow_pickle=False) as content:
            images, labels = content["images"], content["labels"]
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or len(images) != len(labels):
            raise ValueError(f"{self._path}: images are {images.dtype} {images.shape}, not uint8")
        self._images = images if images.ndim == 4 else images[:, None]
        self._labels = labels.astype(np.int64)

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self._images.shape[1:]

    @property
    def num_images(self) -> Mapping[str, int]:
        return {"all": len(self._images)}

    def subjects(self, part: str) -> np.ndarray | None:
        return None

    def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._images[indices], self._labels[indices]

    def checksums(self) -> dict[str, str]:
        return {self._path.name: hashlib.sha256(self._path.read_bytes()).hexdigest()}


SOURCE = Kind("arrays", ArraysConfig, ArraysSource)
