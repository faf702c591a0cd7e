"""Decoded latents under all elements beside the truth: decoded_orbit.png (paper, decoders)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.evaluation.pictures.grid import Row, picture_grid
from pipeline.files.figures import save_figure


def write_decoded_orbits(
    path: Path,
    names: Sequence[Sequence[str]],
    truth: np.ndarray,
    decoded: np.ndarray,
    how: str,
    title: str,
) -> None:
    """Two rows a state, as a PNG: the twins' frames `truth`, and `decoded` rho(g) z of the
    untransformed state, (N, K, C, H, W) each on [0, 1] for K elements of these `names`."""
    rows: list[Row] = []
    for number, (true, shown) in enumerate(zip(truth, decoded, strict=True)):
        # Elements of a continuous group are drawn for each state.
        is_news = number == 0 or names[number] != names[0]
        captions = [f"g: {name}" for name in names[number]] if is_news else []
        rows += [("frame of g s", true, captions), (how, shown, [])]
    save_figure(picture_grid(rows, title), path)
