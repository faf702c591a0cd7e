"""The files that a user names, the names of their results, and their frames as a model takes
them."""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from orbit.core.files.atomic import MAX_NAME_BYTES
from orbit.core.files.listing import checked_file, has_suffix
from orbit.core.groups import Group
from orbit.core.groups.interpolation import inscribed
from orbit.core.reading import nifti as nifti_file
from orbit.core.reading.files import find_all, gathered
from orbit.core.reading.numpy_files import open_npy
from orbit.core.reading.pictures import SUFFIXES as PICTURE_SUFFIXES
from orbit.core.reading.pictures import Limit, fit_square, read_header, read_picture
from orbit.core.reading.volumes import (
    NanPolicy,
    as_binary,
    normalise_percentiles,
    resample,
    to_uint8,
    without_nan,
)
from orbit.core.store.manifest import FrameSpec, Manifest
from orbit.core.store.origin import Orbits
from pipeline.settings import ApplyConfig

ENDINGS = re.compile(r"\.(nii\.gz|[^.]+)$", re.IGNORECASE)
DIGEST_LETTERS = 8


@dataclass(frozen=True)
class Input:
    """A file to read, and the path of its results below `out`, without ending."""

    path: Path
    stem: Path

    def result(self, label: str) -> Path:
        """Path below `out` of the result of an element; its name is never too long.

        In a long name a digest replaces the end.
        """
        name = self.path.name.lower()
        ending = "npy" if name.endswith(".npy") else "nii.gz" if ".nii" in name[-7:] else "png"
        tail = f"__{label}.{ending}"
        whole = f"{self.stem.name}{tail}"
        if len(os.fsencode(whole)) > MAX_NAME_BYTES:
            digest = hashlib.sha256(os.fsencode(self.stem.name)).hexdigest()[:DIGEST_LETTERS]
            tail = f"~{digest}{tail}"
            room = MAX_NAME_BYTES - len(os.fsencode(tail))
            whole = os.fsencode(self.stem.name)[:room].decode("utf-8", "ignore") + tail
        return self.stem.with_name(whole)


def find_inputs(images: Path, suffixes: tuple[str, ...], kind: str) -> list[Input]:
    """The file, or all files of a folder and its subfolders that end in a suffix.

    `kind` says in words what the model takes. Files that are ignored are reported. Raises
    FileNotFoundError if the path does not exist, ValueError for a file with another suffix or a
    name that is not UTF-8, a folder without any of these files, or two files whose results would
    have the same name.
    """
    if not images.exists():
        raise FileNotFoundError(f"images={images}: there is no such file or folder")
    is_folder = images.is_dir()
    root = images if is_folder else images.parent
    files = find_all(images, suffixes, "images") if is_folder else [checked_file(images)]
    stems: dict[Path, Path] = {}
    for path in files:
        if not has_suffix(path.name, suffixes):
            raise ValueError(f"{path}: this model takes {kind}, files of {', '.join(suffixes)}")
        stem = path.relative_to(root).with_name(ENDINGS.sub("", path.name))
        if stem in stems:
            raise ValueError(f"{stems[stem]} and {path} would both be written as {stem}")
        stems[stem] = path
    return [Input(path, stem) for stem, path in stems.items()]


def file_labels(names: Sequence[str]) -> list[str]:
    """A part of a file name for each element's name; ValueError if two are the same."""
    labels = [re.sub(r"[^\w.+-]+", "_", name).strip("_") for name in names]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"element: two of them would be written as {label}")
    return labels


PICTURE_CHANNELS = (1, 3)
HEADS = ("nifti", "dicom")
"""Sources that cut out a cube of `extent_mm`."""


@dataclass(frozen=True)
class Preparation:
    """How a file is prepared. `side` is the model's, in pixels or voxels.

    With `percentiles` None uint8 volumes are not changed; with `zero_is_background` zeros do not
    count for percentiles, nor does NaN if `nan` treats it as background. `extent_mm` is the side of
    the cube cut out of a volume, None for the volume's own. `to_grey` allows coloured pictures.
    With `margin` everything outside the inscribed disc or ball, reduced by this number of pixels,
    becomes black. Pictures larger than `limit` are not decoded.
    """

    frames: FrameSpec
    resize: Literal["none", "crop", "pad"]
    to_grey: bool
    percentiles: tuple[float, float] | None
    zero_is_background: bool
    nan: NanPolicy
    extent_mm: float | None
    margin: float | None
    limit: Limit = Limit()

    @property
    def side(self) -> int:
        return self.frames.shape[-1]

    @property
    def is_volume(self) -> bool:
        return len(self.frames.shape) == 4

    @property
    def is_binary(self) -> bool:
        return self.frames.values == "binary"

    def in_words(self) -> str:
        """One line that describes the preparation."""
        lattice = " x ".join(map(str, self.frames.shape[1:]))
        square, disc = ("cube", "ball") if self.is_volume else ("square", "disc")
        size = {
            "none": f"must measure {lattice}",
            "crop": f"are cut to the largest central {square}, then resized to {lattice}",
            "pad": f"are padded with black to a {square}, then resized to {lattice}",
        }[self.resize]
        if self.extent_mm is not None:
            size = (
                f"are cut or padded to a cube of {self.extent_mm:g} mm, then resized to {lattice}"
            )
        parts = [f"files {size}"]
        if self.percentiles is not None:
            low, high = self.percentiles
            parts.append(f"their percentiles {low:g} and {high:g} become black and white")
        if self.margin is not None:
            parts.append(f"everything outside the inscribed {disc} becomes black")
        return "; ".join(parts)


def make_preparation(config: ApplyConfig, manifest: Manifest, group: Group) -> Preparation:
    """How to prepare files: by configuration, or else as the dataset was prepared.

    Raises ValueError for frames that no file can give, or a setting without effect.
    """
    frames, origin = manifest.frames, manifest.origin
    made: Mapping[str, Any] = origin.source.settings if isinstance(origin, Orbits) else {}
    source = origin.source.name if isinstance(origin, Orbits) else ""
    is_volume = len(frames.shape) == 4
    if is_volume and frames.shape[0] != 1:
        raise ValueError(f"this model takes volumes of {frames.shape[0]} channels; files have 1")
    if not is_volume and frames.shape[0] not in PICTURE_CHANNELS:
        raise ValueError(f"this model takes {frames.shape[0]} channels; pictures have 1 or 3")
    if len(set(frames.shape[1:])) > 1 and config.resize in ("crop", "pad"):
        raise ValueError(f"resize={config.resize}: frames of {frames.shape[1:]} are not square")
    if config.to_grey and (is_volume or frames.shape[0] == 3):
        raise ValueError("to_grey=true has no effect: this model does not take grey pictures")
    if config.percentiles is not None and (not is_volume or frames.values == "binary"):
        raise ValueError("percentiles has no effect: it is for volumes of grey values")
    given = made.get("percentiles") if source in ("nifti", "dicom", "volumes") else None
    percentiles = config.percentiles or (tuple(given) if given is not None else None)
    # Content that a continuous group turns must not leave its disc; sources were prepared like
    # this.
    is_inscribed = not group.is_exact and isinstance(origin, Orbits) and origin.scene == "plain"
    return Preparation(
        frames,
        _prepared_resize(source, made) if config.resize == "as_prepared" else config.resize,
        config.to_grey or (source == "images" and made.get("colour") == "grey"),
        None if frames.values == "binary" else percentiles,
        source in ("nifti", "phantom"),
        "background" if made.get("nan") == "background" else "refuse",
        made.get("extent_mm") if config.resize == "as_prepared" and source in HEADS else None,
        group.margin if is_inscribed else None,
        limit=Limit(config.max_megapixels, "max_megapixels"),
    )


def _prepared_resize(source: str, made: Mapping[str, object]) -> Literal["none", "crop", "pad"]:
    if source == "images" and made.get("size") is not None:
        return "crop"
    if source in HEADS:
        return "pad"
    if source == "volumes" and made.get("side") is not None:
        return "pad"
    return "none"


VOLUME_SUFFIXES = (*nifti_file.SUFFIXES, ".npy")
SOURCE = "volumes"
"""The name of this reader in messages about a missing library."""
HALF, WHITE = 128, 255


class Frame(NamedTuple):
    """`values` (C, ...) uint8 at the model's size; a NIfTI file's voxel sizes in mm."""

    values: np.ndarray
    voxel_mm: tuple[float, ...] | None = None


def suffixes(preparation: Preparation) -> tuple[str, ...]:
    """The suffixes of the files that the model takes."""
    return VOLUME_SUFFIXES if preparation.is_volume else PICTURE_SUFFIXES


def check_file(path: Path, preparation: Preparation) -> None:
    """Check a file's header: ValueError or FileNotFoundError if the file does not suit the
    model."""
    if preparation.is_volume:
        shape = (
            open_npy(path).shape if _is_npy(path) else nifti_file.read_header(path, SOURCE).shape
        )
        _check_size(path, shape, preparation)
        return
    header = read_header(path, preparation.limit)
    is_grey = preparation.frames.shape[0] == 1
    if is_grey and not header.is_grey and not preparation.to_grey:
        raise ValueError(f"{path} has colours and this model is grey: to_grey=true makes it grey")
    _check_size(path, (header.height, header.width), preparation)


def remarks(paths: list[Path], preparation: Preparation) -> list[str]:
    """Lines on what the headers of files leave open, and the assumptions made."""
    if not preparation.is_volume:
        return []
    volumes = [path for path in paths if not _is_npy(path)]
    headers = [nifti_file.read_header(path, SOURCE) for path in volumes]
    return gathered(nifti_file.remarks_on([str(path) for path in volumes], headers))


def read_frame(path: Path, preparation: Preparation) -> Frame:
    """One file at the model's size, as the preparation says.

    Raises FileNotFoundError or ValueError naming the file as `check_file` does, and if the file is
    damaged or its values do not suit the model.
    """
    check_file(path, preparation)
    read = _read_volume if preparation.is_volume else _read_picture
    frame = read(path, preparation)
    values = frame.values
    if preparation.is_binary:
        values = np.where(values >= HALF, WHITE, 0).astype(np.uint8)
    if preparation.margin is not None:
        values = values * inscribed(values.shape[1:], preparation.margin)
    return frame._replace(values=values)


def _read_picture(path: Path, preparation: Preparation) -> Frame:
    is_grey = preparation.frames.shape[0] == 1
    size = None if preparation.resize == "none" else preparation.side
    is_padded = preparation.resize == "pad"
    if preparation.is_binary:
        values = _shape_of(path, read_picture(path, is_grey, None, limit=preparation.limit))
        values = values if size is None else _fit(values, size, is_padded)
    else:
        values = read_picture(path, is_grey, size, is_padded, preparation.limit)
    if values.shape != preparation.frames.shape:
        raise ValueError(f"{path} is not of the size that its header states")
    return Frame(values)


def _shape_of(path: Path, pixels: np.ndarray) -> np.ndarray:
    """The pixels of a mask as 0 and 255."""
    try:
        return as_binary(pixels) * np.uint8(WHITE)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None


def _fit(pixels: np.ndarray, size: int, is_padded: bool) -> np.ndarray:
    from PIL import Image

    bands = [fit_square(Image.fromarray(band), size, is_padded) for band in pixels]
    return np.stack([np.asarray(band) for band in bands])


def _read_volume(path: Path, preparation: Preparation) -> Frame:
    voxel: tuple[float, ...] = (1.0, 1.0, 1.0)
    if _is_npy(path):
        volume = open_npy(path)
    else:
        volume, header = nifti_file.read_volume(path, SOURCE)
        voxel = header.voxel_mm
    try:
        scaled = _scale(volume, preparation)
        if preparation.resize != "none":
            extent = _extent(volume.shape, voxel, preparation)
            scaled = resample(scaled, voxel, extent, preparation.side)
            voxel = (extent / preparation.side,) * 3
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None
    return Frame(to_uint8(scaled)[None], None if _is_npy(path) else voxel)


def _is_npy(path: Path) -> bool:
    return path.name.lower().endswith(".npy")


def _scale(volume: np.ndarray, preparation: Preparation) -> np.ndarray:
    """Values scaled to 0 to 1; ValueError, without naming the file, for values that do not suit the
    model."""
    if preparation.is_binary:
        return as_binary(without_nan(volume, preparation.nan)).astype(np.float32)
    if volume.dtype == np.uint8 and preparation.percentiles is None:
        return volume.astype(np.float32) / 255
    if preparation.percentiles is None:
        raise ValueError(f"holds {volume.dtype}, not uint8: give percentiles=[LOW,HIGH]")
    background = 0.0 if preparation.zero_is_background else None
    return normalise_percentiles(volume, preparation.percentiles, background, preparation.nan)


def _extent(shape: tuple[int, ...], voxel: tuple[float, ...], preparation: Preparation) -> float:
    if preparation.extent_mm is not None:
        return preparation.extent_mm
    sides = [num * size for num, size in zip(shape, voxel, strict=True)]
    return max(sides) if preparation.resize == "pad" else min(sides)


def _check_size(path: Path, shape: tuple[int, ...], preparation: Preparation) -> None:
    wanted = preparation.frames.shape[1:]
    if preparation.resize == "none" and shape != wanted:
        given, needed = (" x ".join(map(str, reversed(sides))) for sides in (shape, wanted))
        raise ValueError(
            f"{path} measures {given} and this model takes {needed}:"
            " resize=crop cuts and resizes, resize=pad pads and resizes"
        )
