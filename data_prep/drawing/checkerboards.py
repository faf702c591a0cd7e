"""Blue digits before noisy checkerboards: each pixel black or white, drawn for each image."""

import numpy as np

BLUE = (0, 0, 255)
DARKEST = 128
"""The greatest grey value that is not part of a digit."""
WHITE = 255


def draw_checkerboards(
    seed: int, stream: tuple[int, ...], indices: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Pixels 0 or 255 with equal chances, (n, H, W) uint8; each board a function of seed, stream
    and its index alone."""
    boards = np.empty((len(indices), *shape), np.uint8)
    for row, index in enumerate(indices):
        rng = np.random.default_rng([seed, *stream, int(index)])
        boards[row] = rng.integers(0, 2, shape, np.uint8) * WHITE
    return boards


def paint_blue(grey: np.ndarray, boards: np.ndarray) -> np.ndarray:
    """Digits (n, k, 1, H, W), blue before the board (n, H, W) of their image, (n, k, 3, H, W)."""
    blue = np.array(BLUE, np.uint8)[:, None, None]
    return np.where(grey > DARKEST, blue, boards[:, None, None])


def is_blue(frames: np.ndarray) -> np.ndarray:
    """The pixels of digits in frames (N, 3, H, W), (N, 1, H, W) bool."""
    blue = np.array(BLUE, np.uint8)[:, None, None]
    return np.asarray((frames == blue).all(1, keepdims=True))
