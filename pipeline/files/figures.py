"""Figures as files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.files.atomic import replacing

SEPARATOR = 0.5
"""Grey between the slices of a volume, on [0, 1]."""


def as_picture(frame: np.ndarray) -> np.ndarray:
    """A frame (C, H, W) with values in [0, 1] for imshow, (H, W) or (H, W, 3).

    A volume (C, D, H, W) becomes its three middle slices side by side: seen along the
    first axis, along the second and along the third, the last two with the end of the
    first axis on top.
    """
    frame = flattened(frame)
    return frame[0] if frame.shape[0] == 1 else np.moveaxis(frame[:3], 0, -1)


def flattened(frame: np.ndarray) -> np.ndarray:
    """What `as_picture` shows of a frame, (C, h, w): of a volume its slices, a picture as it is."""
    if frame.ndim == 3:
        return frame
    _, depth, height, width = frame.shape
    upright = frame[:, ::-1]
    slices = [frame[:, depth // 2], upright[:, :, height // 2], upright[..., width // 2]]
    return _side_by_side(slices)


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

    Texts are drawn as they stand, whatever names they hold. Raises FileNotFoundError naming
    the folder if there is none to write it into, OSError naming the file if it cannot be
    written.
    """
    import matplotlib.pyplot as plt

    from pipeline.files.figure_texts import make_plain

    if not path.parent.is_dir():
        plt.close(figure)
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
    try:
        make_plain(figure)
        with replacing(path) as draft:
            figure.savefig(draft, format="png", dpi=110, metadata=dict(metadata or {}))
    finally:
        plt.close(figure)
