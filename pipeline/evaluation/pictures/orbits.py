"""Sources, outputs and truths under every element: orbits.png."""

from pathlib import Path

import numpy as np

from data_prep.store.reader import SplitReader
from pipeline.evaluation.pictures.grid import Row, picture_grid
from pipeline.evaluation.pictures.prediction import element_names, predict, unit_range
from pipeline.files.figures import flattened, save_figure
from pipeline.runs import Run

NUM_IMAGES = 6
NUM_VOLUMES = 3
MAX_ELEMENTS, MAX_DRAWN = 8, 4
"""Elements of a finite group, and drawn ones of a continuous group, of each source."""


def orbit_records(
    reader: SplitReader, num_sources: int, max_elements: int = MAX_ELEMENTS
) -> np.ndarray:
    """Record numbers (K, N): N evenly spread sources, each under some of its elements.

    Where records do not come in runs that share a source, K is 1.
    """
    length = reader.records_per_source or 1
    total = reader.num_records // length
    # An odd stride meets every pose where the members of an orbit are sources in turn.
    stride = max(1, total // num_sources - 1) | 1
    sources = np.arange(min(num_sources, total)) * stride % total
    elements = np.arange(0, length, -(-length // max_elements))
    return np.asarray(sources[None] * length + elements[:, None])


def write_orbits(path: Path, run: Run, reader: SplitReader) -> None:
    """A row of sources, then a row of outputs and one of truths for each element, as a PNG."""
    is_volume = len(reader.frames.shape) == 4
    num_sources = NUM_VOLUMES if is_volume else NUM_IMAGES
    max_elements = MAX_ELEMENTS if run.group.num_elements is not None else MAX_DRAWN
    numbers = orbit_records(reader, num_sources, max_elements)
    rows: list[Row] = []
    for records in map(reader.read, numbers):
        source, truth = (unit_range(x, reader.frames) for x in records[:2])
        if not rows:
            rows.append(("source", _shown(source), []))
        names = element_names(run, records.action)
        is_same = len(set(names)) == 1
        label, captions = (f", g = {names[0]}", []) if is_same else ("", names)
        output = predict(run, records.source, records.action)
        rows += [(f"output{label}", _shown(output), captions), (f"truth{label}", _shown(truth), [])]
    save_figure(picture_grid(rows, f"Orbits under {run.group.name}, step {run.step}"), path)


def _shown(frames: np.ndarray) -> np.ndarray:
    """What is shown of frames (N, C, ...): whole volumes are not kept for every row."""
    return np.stack([flattened(frame) for frame in frames])
