"""Figures as files."""

import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np


def as_picture(frame: np.ndarray) -> np.ndarray:
    """A frame (C, H, W), or the middle slice of a volume (C, D, H, W), for imshow: (H, W[, 3])."""
    if frame.ndim == 4:
        frame = frame[:, frame.shape[1] // 2]
    return frame[0] if frame.shape[0] == 1 else np.moveaxis(frame[:3], 0, -1)


def save_figure(figure: Any, path: Path) -> None:
    """Write a matplotlib figure atomically and close it."""
    import matplotlib.pyplot as plt

    draft = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.tmp.png")
    try:
        figure.savefig(draft, dpi=110)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
        plt.close(figure)
