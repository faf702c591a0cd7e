"""The plain backdrop of views: the same in every picture."""

from functools import lru_cache

import numpy as np

TOP, BOTTOM = 224, 144
"""Grey levels."""


@lru_cache(maxsize=8)
def plain_backdrop(size: int) -> np.ndarray:
    """A grey that darkens downwards, (3, S, S) uint8; not to be written to."""
    levels = np.rint(np.linspace(TOP, BOTTOM, size)).astype(np.uint8)
    backdrop = np.broadcast_to(levels[:, None], (3, size, size)).copy()
    backdrop.flags.writeable = False
    return backdrop
