"""Volumes as solid things: surface.png."""

from pathlib import Path

import numpy as np

from data_prep.store.reader import SplitReader
from pipeline.evaluation.pictures.grid import label_row, name_columns, new_figure, show
from pipeline.evaluation.pictures.prediction import (
    element_names,
    predict,
    unit_range,
    varied_records,
)
from pipeline.evaluation.pictures.ray_march import content_radius, surface_picture
from pipeline.files.figures import save_figure
from pipeline.runs import Run

NUM_COLUMNS = 5
SIZE = 176
MARGIN = 1.04


def slanted_view(elevation: float = 25.0, azimuth: float = 30.0) -> np.ndarray:
    """The rotation (3, 3) that shows an object from its left and from above, in degrees."""
    tilt, turn = np.radians([elevation, azimuth])
    about_y = [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    about_x = [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
    return np.array(about_x) @ np.array(about_y)


def write_surface(path: Path, run: Run, reader: SplitReader) -> None:
    """Surfaces of sources, outputs and truths at one half of the range, as a PNG.

    Of several channels the first is shown.
    """
    records = reader.read(varied_records(run, reader, NUM_COLUMNS))
    source, truth = (unit_range(x, reader.frames)[:, 0] for x in records[:2])
    output = predict(run, records.source, records.action)[:, 0]
    radius = MARGIN * content_radius(np.concatenate([source, truth]))
    view, num = slanted_view(), len(source)
    title = f"Surfaces at one half of the range, step {run.step}"
    figure, axes = new_figure(3, num, (1.6 * num + 0.8, 5.2), title)
    rows = (("source", source), ("output", output), ("truth", truth))
    for line, (label, volumes) in zip(axes, rows, strict=True):
        for axis, volume in zip(line, volumes, strict=True):
            show(axis, surface_picture(volume, view, SIZE, radius), interpolation="antialiased")
            axis.spines[:].set_visible(False)
        label_row(line, label)
    name_columns(axes[0], element_names(run, records.action))
    save_figure(figure, path)
