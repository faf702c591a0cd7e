"""Check that labelled sequences agree with their columns."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data_prep.drawing.backgrounds import first_maximum, labels_of_maxima, sinusoids
from orbit.core.store.manifest import Manifest
from orbit.core.store.origin import Sequences

RELATIVE_TOLERANCE = 2.0**-10
"""The relative rounding error of half precision."""


def what_is_checked(manifest: Manifest) -> str:
    """A clause that says what can be checked of the records."""
    return "drawn again"


def check_sequences(
    path: Path, manifest: Manifest, arrays: Mapping[str, np.ndarray], rows: np.ndarray
) -> None:
    """Raise ValueError naming file, dataset and row of the first record (of these rows of a
    shard) whose sequence or labels are not those of its amplitude and phase."""
    origin = manifest.origin
    assert isinstance(origin, Sequences)
    size = (origin.num_points, origin.num_periods)
    amplitude, phase = (arrays[f"columns/{name}"][rows] for name in ("amplitude", "phase"))
    maximum = first_maximum(phase, *size)
    expected = {
        "source": sinusoids(amplitude, phase, *size),
        "target": labels_of_maxima(maximum, *size),
    }
    for end, values in expected.items():
        found = arrays["frames"][arrays[end][rows]].reshape(values.shape)
        error = np.abs(found.astype(np.float64) - values).max(1)
        _refuse(
            path, end, rows, error > RELATIVE_TOLERANCE * np.abs(amplitude), "shows other values"
        )
    _refuse(path, "label", rows, arrays["label"][rows] != maximum, "is not the first maximum")


def _refuse(path: Path, name: str, rows: np.ndarray, is_wrong: np.ndarray, fault: str) -> None:
    if is_wrong.any():
        row = rows[np.argmax(is_wrong)]
        raise ValueError(f"{path}: dataset {name}, row {row} {fault}")
