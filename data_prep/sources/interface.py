"""The face of a source of labelled images."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np


class ImageSource(Protocol):
    """Labelled uint8 images in named parts, readable in any order. Picklable and cheap to copy."""

    image_shape: tuple[int, ...]
    """(C, H, W)"""
    num_images: Mapping[str, int]
    """Images in each part, by part name."""
    label_meaning: str

    def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (n, C, H, W) uint8 and labels (n,) int64 at these positions of a part."""

    def checksums(self) -> dict[str, str]:
        """sha256 of every file read, by name without its directory."""
