"""The UCI handwritten digits that ship inside scikit-learn: 1,797 real images, no download."""

import hashlib
from functools import lru_cache

import numpy as np
import torch
from torch.nn.functional import interpolate

NUM_IMAGES = 1797
UPSAMPLING = 2
MAXIMUM = 16.0


class DigitsSource:
    """8x8 images upsampled bilinearly to 16x16, grey values 0..16 mapped to 0..255."""

    image_shape = (1, 8 * UPSAMPLING, 8 * UPSAMPLING)
    is_binary = False
    num_images = {"all": NUM_IMAGES}
    label_meaning = "digit, 0 to 9"

    def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images, labels = _load()
        return images[indices], labels[indices]

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
