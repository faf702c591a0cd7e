"""Signs of principal axes, which matrix libraries choose as they like."""

import numpy as np


def with_signs(axes: np.ndarray) -> np.ndarray:
    """Each row of (k, n) or its negative, so that its largest component is positive.

    The same on every machine; of components as large as each other up to rounding the first.
    """
    sizes = np.abs(axes)
    is_largest = sizes >= sizes.max(1, keepdims=True) * (1 - 1e-6)
    place = is_largest.argmax(1)[:, None]
    return np.asarray(axes * np.where(np.take_along_axis(axes, place, 1) < 0, -1.0, 1.0))
