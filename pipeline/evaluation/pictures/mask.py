"""The mask over training: mask.png."""

from pathlib import Path

import numpy as np

from pipeline.evaluation.pictures.grid import new_figure
from pipeline.files.figures import save_figure
from pipeline.training.metrics_log import read_metrics

PANELS = {
    "mask/fraction_variant": "share of channels\nthat are variant",
    "mask/flips_in_epoch": "flips since the\nepoch began",
}


def write_mask(path: Path, log: Path) -> bool:
    """The share of variant channels and how often entries flipped, by step, as a PNG.

    Returns whether the log (metrics.jsonl) has lines about a mask, without which
    nothing is written.
    """
    lines = [
        line
        for line in read_metrics(log)
        if line["split"] == "train" and PANELS.keys() <= line.keys()
    ]
    if not lines:
        return False
    steps = np.array([line["step"] for line in lines])
    figure, axes = new_figure(len(PANELS), 1, (6.4, 3.9), "Mask over training")
    for axis, (name, label) in zip(axes[:, 0], PANELS.items(), strict=True):
        values = np.array([line[name] for line in lines], float)
        # A count that falls was set to 0 between two epochs.
        falls = np.diff(values) < 0 if "epoch" in name else np.zeros(len(values) - 1, bool)
        breaks = np.flatnonzero(falls) + 1
        x, y = (np.insert(v.astype(float), breaks, np.nan) for v in (steps, values))
        axis.plot(x, y, color="C0", linewidth=1.3, marker=".", markersize=4, clip_on=False)
        axis.set_ylabel(label, fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xlim(0, steps[-1])
    axes[0, 0].set_ylim(-0.02, 1.02)
    axes[0, 0].tick_params(labelbottom=False)
    axes[1, 0].set_ylim(bottom=0)
    axes[1, 0].set_xlabel("step", fontsize=9)
    save_figure(figure, path)
    return True
