"""Figures as files."""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

SEPARATOR = 0.5
"""Grey between the slices of a volume, on [0, 1]."""


def as_picture(frame: np.ndarray) -> np.ndarray:
    """A frame (C, H, W) with values in [0, 1] for imshow, (H, W) or (H, W, 3).

    A volume (C, D, H, W) becomes its three middle slices side by side: seen along the
    first axis, along the second and along the third, the last two with the end of the
    first axis on top.
    """
    if frame.ndim == 4:
        _, depth, height, width = frame.shape
        upright = frame[:, ::-1]
        slices = [frame[:, depth // 2], upright[:, :, height // 2], upright[..., width // 2]]
        frame = _side_by_side(slices)
    return frame[0] if frame.shape[0] == 1 else np.moveaxis(frame[:3], 0, -1)


def _side_by_side(slices: list[np.ndarray]) -> np.ndarray:
    """Slices (C, h, w) in a row, with a line of grey between them, padded to one height."""
    height = max(part.shape[1] for part in slices)
    columns: list[np.ndarray] = []
    for part in slices:
        below = height - part.shape[1]
        padded = np.pad(part, ((0, 0), (0, below), (0, 0)), constant_values=SEPARATOR)
        columns += [padded, np.full((len(part), height, 1), SEPARATOR, part.dtype)]
    return np.concatenate(columns[:-1], axis=2)


def save_figure(figure: Any, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a matplotlib figure atomically, with texts of its own in the file, and close it.

    Raises FileNotFoundError naming the folder if there is none to write it into.
    """
    import matplotlib.pyplot as plt

    if not path.parent.is_dir():
        plt.close(figure)
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
    draft = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.tmp.png")
    try:
        figure.savefig(draft, dpi=110, metadata=dict(metadata or {}))
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
        plt.close(figure)
