"""Pure functions on volumes (grey values, crop, pad, resample), and tables of their labels."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from orbit.core.reading.files import check_texts, number_labels
from orbit.core.reading.pairs_csv import read_csv_table

NanPolicy = Literal["refuse", "background"]
"""The meaning of voxels that are NaN."""


def as_binary(values: np.ndarray) -> np.ndarray:
    """A mask as booleans of the same shape: a mask holds 0 and one positive value.

    It may be any value (1, 255, a label, True), and either of the two may be absent. Raises
    ValueError, without naming the file, for any other value.
    """
    is_set: np.ndarray = np.asarray(values != 0)
    if values.dtype != np.bool_ and is_set.any():
        inside = values[is_set]
        low, high = inside.min(), inside.max()
        if not 0 < low == high < np.inf:
            raise ValueError(
                f"is not a mask: besides 0 it holds values from {low:g} to {high:g}, and a mask has"
                " 0 and one positive value, such as 1 or 255"
            )
    return is_set


def without_nan(volume: np.ndarray, nan: NanPolicy = "refuse") -> np.ndarray:
    """The volume with NaN voxels set to 0, if the policy says that they are background.

    Otherwise NaN raises ValueError with the number of such voxels, and so do infinite values.
    """
    if volume.dtype.kind != "f" or np.isfinite(volume).all():
        return volume
    is_nan = np.isnan(volume)
    num_nan, num_infinite = int(is_nan.sum()), int(np.isinf(volume).sum())
    if num_infinite:
        raise ValueError(
            f"has voxels that are infinite or beyond 32 bits: {num_infinite:,} of {volume.size:,}"
        )
    if nan == "refuse":
        raise ValueError(
            f"has voxels that are NaN: {num_nan:,} of {volume.size:,}; a dataset prepared with"
            " source.nan=background takes them for background"
        )
    cleaned: np.ndarray = np.where(is_nan, volume.dtype.type(0), volume)
    return cleaned


def normalise_percentiles(
    volume: np.ndarray,
    percentiles: tuple[float, float],
    background: float | None = None,
    nan: NanPolicy = "refuse",
) -> np.ndarray:
    """Map these percentiles of a volume to 0 and 1, values beyond them clipped; float32.

    Voxels equal to `background`, and NaN if it means background, do not count and become 0. Raises
    ValueError, without naming the file, as `without_nan` does, or if the percentiles coincide.
    """
    finite = without_nan(volume, nan)
    is_inside = None if background is None else finite != background
    if finite is not volume:
        is_number = ~np.isnan(volume)
        is_inside = is_number if is_inside is None else is_inside & is_number
    values = finite.ravel() if is_inside is None else finite[is_inside]
    if not values.size:
        beside = [] if background is None else [f"{background:g}"]
        raise ValueError(
            f"holds nothing but {' and '.join(beside + ['NaN'] * (finite is not volume))}"
        )
    low, high = np.percentile(values, percentiles)
    if not high > low:
        raise ValueError(
            f"has no contrast: its percentiles {percentiles[0]:g} and {percentiles[1]:g}"
            f" are both {low:g}"
        )
    scaled: np.ndarray = (finite.astype(np.float64) - low) / (high - low)
    scaled = np.clip(scaled, 0, 1).astype(np.float32)
    if is_inside is not None:
        scaled[~is_inside] = 0
    return scaled


def largest_extent(shape: tuple[int, ...], voxel: tuple[float, ...]) -> float:
    """The longest side of a volume of this many voxels of these sizes."""
    return max(num * size for num, size in zip(shape, voxel, strict=True))


def resample(volume: np.ndarray, voxel: tuple[float, ...], extent: float, side: int) -> np.ndarray:
    """The cube of side `extent` about a volume's centre, as `side` voxels a side; float32.

    `voxel` is the size of a voxel along each of the three axes, in the unit of `extent`. Outside
    the volume values are 0. Interpolation is trilinear; if voxels become larger, the triangle
    filter widens with them, against aliasing. Raises ValueError, without naming the file, for a
    volume thinner than a voxel of the cube.
    """
    out: np.ndarray = np.asarray(volume, np.float32)
    for axis, size in enumerate(voxel):
        if out.shape[axis] * size * side < extent:
            raise ValueError(
                f"measures {out.shape[axis] * size:g} along an axis, less than one of"
                f" {side} voxels in a cube of {extent:g}"
            )
        indices, weights = _taps(out.shape[axis], extent / side / size, side)
        columns = [1] * out.ndim
        columns[axis] = side
        total: np.ndarray = np.zeros((*out.shape[:axis], side, *out.shape[axis + 1 :]), np.float32)
        for index, weight in zip(indices.T, weights.T, strict=True):
            total += out.take(index, axis) * weight.reshape(columns)
        out = total
    return out


def to_uint8(volume: np.ndarray) -> np.ndarray:
    """Values 0 to 1 as 0 to 255."""
    grey: np.ndarray = np.clip(np.rint(volume * 255), 0, 255).astype(np.uint8)
    return grey


def _taps(num: int, scale: float, side: int) -> tuple[np.ndarray, np.ndarray]:
    """For each of `side` output voxels, the input voxels that it averages, and their weights.

    `scale` is an output voxel's size in input voxels. Weights sum to 1 over an endless
    lattice; those beyond its `num` voxels are then 0.
    """
    reach = max(1.0, scale)
    centre = (np.arange(side) + (1 - side) / 2) * scale + (num - 1) / 2
    index = np.ceil(centre - reach).astype(np.int64)[:, None]
    index = index + np.arange(int(np.ceil(2 * reach)) + 1)
    weight = np.clip(1 - np.abs(centre[:, None] - index) / reach, 0, None)
    weight /= weight.sum(1, keepdims=True)
    weight[(index < 0) | (index >= num)] = 0
    return index.clip(0, num - 1), weight.astype(np.float32)


class VolumeTable(NamedTuple):
    """Labels and subjects (n,) int64 in the order of the requested files.

    `names` are the texts that the labels number, or none if labels are integers.
    """

    labels: np.ndarray
    names: list[str]
    subjects: np.ndarray | None


def read_table(path: Path, files: list[str]) -> VolumeTable:
    """The rows of a table with columns file, label and, if wanted, subject.

    `files` are the paths that the rows must name, each once, with forward slashes.
    Labels that are not all integers, and subjects, are numbered in sorted order.
    Raises FileNotFoundError or ValueError naming the table and what is wrong with it.
    """
    try:
        table = read_csv_table(path, ("file", "label"), ("subject",), has_others=True)
    except FileNotFoundError:
        raise FileNotFoundError(f"source.table={path}: there is no such file") from None
    row_of: dict[str, int] = {}
    for row, name in enumerate(table.columns["file"]):
        if name in row_of:
            raise ValueError(f"{path} lists {name} twice")
        row_of[name] = row
    if unknown := sorted(row_of.keys() - set(files)):
        raise ValueError(
            f"{table.place(row_of[unknown[0]])} names {unknown[0]!r}, which is not below"
            f" source.root{_hint(unknown[0], files)}"
        )
    if missing := [name for name in files if name not in row_of]:
        raise ValueError(f"{path} does not list {missing[0]}, which is below source.root")
    order = [row_of[name] for name in files]

    def place(number: int) -> str:
        return f"{table.place(order[number])}, file {files[number]}"

    labels, names = number_labels([table.columns["label"][row] for row in order], place)
    if "subject" not in table.columns:
        return VolumeTable(labels, names, None)
    subjects = [table.columns["subject"][row] for row in order]
    check_texts(subjects, place, "subject")
    return VolumeTable(labels, names, np.unique(subjects, return_inverse=True)[1].astype(np.int64))


def _hint(name: str, files: list[str]) -> str:
    if name.replace("\\", "/") in files:
        return ": write paths with /"
    if name.removeprefix("./") in files:
        return ": write it without ./"
    return ""
