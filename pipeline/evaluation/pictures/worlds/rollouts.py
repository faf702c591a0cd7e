"""Rollouts beside the truth: rollouts.png.

A predicted latent is shown decoded, where there is a decoder; else as the test frame whose
latent is nearest to it, which says what the model takes the state for but not how it looks.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.evaluation.pictures.grid import Row, picture_grid
from pipeline.files.figures import save_figure


def write_rollouts(
    path: Path,
    times: Sequence[int],
    truth: np.ndarray,
    predicted: np.ndarray,
    how: str,
    title: str,
) -> None:
    """Two rows an episode, as a PNG: `truth` and `predicted` (N, K, C, H, W) on [0, 1] at K times.

    `how` says how predictions were made visible.
    """
    rows: list[Row] = []
    for number, (true, shown) in enumerate(zip(truth, predicted, strict=True)):
        captions = [f"step {time}" for time in times] if number == 0 else []
        rows += [("truth", true, captions), (how, shown, [])]
    save_figure(picture_grid(rows, title), path)
