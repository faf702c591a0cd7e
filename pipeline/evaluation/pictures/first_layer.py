"""Weights of a first layer beside their circulant part: first_layer.png (paper, toy figure)."""

from pathlib import Path

import numpy as np
import torch

from pipeline.evaluation.pictures.grid import add_scale, new_figure, show
from pipeline.files.figures import save_figure
from pipeline.metrics.circulant import circulant_part, circulant_share

CLIPPED = 99.5
"""Percentile of magnitudes where the colours of each panel end."""


def write_first_layer(path: Path, weights: torch.Tensor, title: str) -> None:
    """Heat maps of (n, n) weights, rows outputs and columns inputs, as a PNG.

    Each panel has a colour scale of its own: the circulant part of weights that are mostly
    noise would be invisible on theirs.
    """
    weights = weights.detach().cpu().double()
    share = circulant_share(weights)
    panels = {
        "weights": weights.numpy(),
        f"circulant part: {share:.1%} of the energy\n(noise: {1 / len(weights):.1%})": (
            circulant_part(weights).numpy()
        ),
    }
    figure, axes = new_figure(1, 4, (8.6, 4.4), title, width_ratios=[1, 0.05, 1, 0.05])
    for column, (name, values) in enumerate(panels.items()):
        axis = axes[0, 2 * column]
        end = max(float(np.percentile(np.abs(values), CLIPPED)), 1e-12)
        image = show(axis, values, cmap="RdBu_r", vmin=-end, vmax=end)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("input", fontsize=8)
        axis.set_ylabel("output", fontsize=8)
        axes[0, 2 * column + 1].remove()
        add_scale(figure, axes[0, 0].get_gridspec()[0, 2 * column + 1], image, "")
    save_figure(figure, path)
