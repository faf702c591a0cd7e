"""The swap test in pictures: swap.png (paper, swap figure)."""

from pathlib import Path

import numpy as np

from data_prep.store.manifest import Manifest
from data_prep.store.reader import SplitReader
from pipeline.analysis.records import partners, spread_sources
from pipeline.analysis.swap import swapped
from pipeline.analysis.swap_truth import swap_truth
from pipeline.data.places import slices
from pipeline.evaluation.pictures.grid import Row, picture_grid
from pipeline.evaluation.pictures.prediction import unit_range
from pipeline.files.figures import save_figure
from pipeline.models.latent_action import LatentActionModel
from pipeline.runs import Run

NUM_COLUMNS = 8
LEFT_OUT = 0.5


def write_swap(path: Path, run: Run, manifest: Manifest, reader: SplitReader) -> None:
    """Pairs of inputs, the decoded mixture of their latents, and its truth, as a PNG."""
    model = run.model
    assert isinstance(model, LatentActionModel)
    first = spread_sources(reader, NUM_COLUMNS)
    second = first[partners(len(first))]
    one, other = reader.read(first), reader.read(second)
    truth = swap_truth(manifest, reader, one.source, first, second)
    output = np.concatenate(
        [
            swapped(model, one.source[part], other.source[part])[0]
            for part in slices(len(first), run.places())
        ]
    )
    is_counted = truth.foreground | truth.background
    rows: list[Row] = [
        ("input i", unit_range(one.source, reader.frames), []),
        ("input j", unit_range(other.source, reader.frames), []),
        ("$D(z_v(i) + z_i(j))$", output.clip(0, 1), []),
        (
            "truth" if is_counted.all() else "truth\n(grey: left out)",
            np.where(is_counted, truth.images, LEFT_OUT),
            [],
        ),
    ]
    save_figure(picture_grid(rows, f"Swapped latent parts, step {run.step}"), path)
