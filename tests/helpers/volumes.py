"""Small volumes in files, and what every source of volumes must hold to."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np

from data_prep.sources.interface import ImageSource


def anatomy(shape: tuple[int, ...], voxel_mm: Sequence[float], seed: int = 0) -> np.ndarray:
    """A smooth lopsided thing in a ball of 18 mm about the centre, 0 outside; axes x, y, z."""
    axes = [
        (np.arange(num) - (num - 1) / 2) * size for num, size in zip(shape, voxel_mm, strict=True)
    ]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    shift = np.random.default_rng(seed).uniform(-4, 4, 3)
    blob = np.exp(-((x - 6) ** 2 + (y - shift[1]) ** 2 + (z - shift[2]) ** 2) / 60)
    value = 100 + 300 * blob + 4 * x + 2 * y + z
    return np.where(x**2 + y**2 + z**2 < 18**2, value, 0).astype(np.float32)


def write_nifti(
    path: Path, volume: np.ndarray, voxel_mm: Sequence[float] = (1, 1, 1), affine=None
) -> Path:
    """A file with axes x, y, z, in RAS unless an affine says otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*voxel_mm, 1.0]) if affine is None else affine
    nibabel.Nifti1Image(volume, affine).to_filename(path)
    return path


def assert_reads_alike(source: ImageSource, part: str = "all") -> None:
    """Reads do not depend on order, batching, repetition or on which copy of the source reads."""
    num = source.num_images[part]
    frames, labels = source.read(part, np.arange(num))
    assert frames.shape == (num, *source.image_shape)
    assert frames.dtype == np.uint8
    assert labels.shape == (num,)
    assert labels.dtype == np.int64
    copy = pickle.loads(pickle.dumps(source))
    for index in np.random.default_rng(0).permutation(num):
        frame, label = copy.read(part, np.array([index, index]))
        assert (frame == frames[index]).all()
        assert (label == labels[index]).all()
    assert not source.is_binary or set(np.unique(frames)) <= {0, 255}
    no_frames, no_labels = source.read(part, np.array([], np.int64))
    assert no_frames.shape == (0, *source.image_shape)
    assert no_labels.shape == (0,)
