"""Peak signal-to-noise ratio."""

import math


def psnr(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB for an error on [0, 1], at most 100."""
    return -10.0 * math.log10(max(mean_squared_error, 1e-10))
