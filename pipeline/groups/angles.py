"""Ranges of rotation angles by which the metrics of continuous groups are broken down."""

import math

import torch

ANGLE_BIN_NAMES = ("identity", "0-45", "45-90", "90-135", "135-180")
TOLERANCE = 1e-5
"""Radians; what float32 makes of the identity after a few compositions."""


def angle_bin_index(angle: torch.Tensor, is_identity: torch.Tensor) -> torch.Tensor:
    """Position in `ANGLE_BIN_NAMES` of each angle, (N,) int64.

    `angle` in radians from 0 to pi; a range includes its upper end. `is_identity` (N,)
    bool marks what goes into bin 0.
    """
    index = torch.ones_like(angle, dtype=torch.int64)
    for degrees in (45, 90, 135):
        index += (angle > math.radians(degrees) + TOLERANCE).to(torch.int64)
    return index.masked_fill(is_identity, 0)
