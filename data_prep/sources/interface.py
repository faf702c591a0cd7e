"""The face of a source of labelled images."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np


class ImageSource(Protocol):
    """Labelled uint8 images in named parts, readable in any order. Picklable and cheap to copy."""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W)"""

    @property
    def num_images(self) -> Mapping[str, int]:
        """Images in each part, by part name."""

    @property
    def label_meaning(self) -> str:
        """What a label is, in words."""

    def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (n, C, H, W) uint8 and labels (n,) int64 at these positions of a part."""

    def checksums(self) -> dict[str, str]:
        """sha256 of every file read, by name without its directory."""
