"""DICOM files below a folder, grouped into series by their tags, never by their names.

A series becomes a volume whose axes are those of a frame.

A series consists of the images with one SeriesInstanceUID. ImagePositionPatient and
ImageOrientationPatient give the position of a slice. Axes become those of
`orbit.core.reading.nifti`.
"""

import math
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from orbit.core.files.listing import find_files
from orbit.core.files.waiting import raise_passing
from orbit.core.reading.files import import_extra
from orbit.core.reading.nifti import Lattice, lattice_of, nearest_axes, to_frame
from orbit.core.reading.numpy_files import check_expansion

SOURCE = "dicom"
MIN_SLICES = 3
TOLERANCE = 0.02
"""How far slices may lie from their regular positions, as a share of their distance."""
PREAMBLE = 128
META_START = PREAMBLE + 16
"""Offset of the meta information; the 4 bytes before it hold its length."""
MAX_META = 2**12
DEFLATED = b"1.2.840.10008.1.2.1.99"
"""The transfer syntax of files that are deflated after their meta information."""
BLOCK_BYTES = 2**20
FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
NO_DICOM, NO_IMAGE = "files that are not DICOM", "DICOM files without an image"
TAGS = [
    "SOPClassUID",
    "PatientID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "BitsAllocated",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
]


class Slice(NamedTuple):
    """The position of a file's image, in mm in DICOM's patient axes, and its series.

    `kind` holds the values, by name, that all slices of a series must have in common.
    """

    path: Path
    series: str
    patient: str
    shape: tuple[int, int]
    position: np.ndarray
    orientation: np.ndarray
    spacing: np.ndarray
    kind: dict[str, str]


@dataclass(frozen=True)
class Series:
    """One volume: its files from slice to slice, and the affine (4, 4) from (column, row, slice)
    to mm in RAS."""

    uid: str
    patient: str
    paths: tuple[Path, ...]
    affine: np.ndarray
    lattice: Lattice


def find_series(root: Path, key: str) -> tuple[list[Series], Counter[str]]:
    """All series below a folder in the order of their UIDs, and the ignored files.

    Raises FileNotFoundError if there is no such folder, and ValueError naming the file or the
    series if it is not a volume of parallel slices at equal distances.
    """
    pydicom = import_extra("pydicom", SOURCE, "dicom")
    found = find_files(root, ("",), key)
    passed_over = Counter(found.passed_over)
    by_series: dict[str, list[Slice]] = {}
    for path in found.files:
        dataset = _header(pydicom, path)
        if isinstance(dataset, str):
            passed_over[dataset] += 1
            continue
        image = _slice(pydicom, path, dataset)
        by_series.setdefault(image.series, []).append(image)
    if not by_series:
        raise ValueError(f"{key}={root} holds no DICOM image")
    return [_series(by_series[uid]) for uid in sorted(by_series)], passed_over


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom's warnings about values that break the standard."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _header(pydicom: Any, path: Path) -> Any:
    """The tags of an image; or the kind of another file, as named in the count of skipped files."""
    with open(path, "rb") as file:
        start = file.read(META_START + MAX_META)
    has_preamble = start[PREAMBLE : PREAMBLE + 4] == b"DICM"
    if not has_preamble and start[:2] not in FIRST_GROUPS:
        return NO_DICOM
    _check_deflated(path, start)
    try:
        with quiet():
            dataset = pydicom.dcmread(
                path, stop_before_pixels=True, force=not has_preamble, specific_tags=TAGS
            )
            uid, num_rows = dataset.get("SeriesInstanceUID"), dataset.get("Rows")
    except Exception as error:  # any error of its parser is a fault of the file
        raise_passing(error, path)
        if not has_preamble:
            return NO_DICOM
        raise ValueError(f"{path} is not readable DICOM: {one_line(error)}") from None
    if not has_preamble and "SOPClassUID" not in dataset:
        return NO_DICOM
    return NO_IMAGE if not num_rows or not uid else dataset


def _check_deflated(path: Path, start: bytes) -> None:
    """Refuse a file that is deflated as a whole and unpacks to far more than its size.

    `start` holds the file's first bytes, with all of its meta information.
    """
    if start[PREAMBLE : PREAMBLE + 4] != b"DICM" or DEFLATED not in start[: META_START + MAX_META]:
        return
    begin = META_START + int.from_bytes(start[META_START - 4 : META_START], "little")
    size, unpacked, packer = path.stat().st_size, 0, zlib.decompressobj(-zlib.MAX_WBITS)
    with open(path, "rb") as file:
        file.seek(begin)
        rest = file.read(BLOCK_BYTES)
        while rest:
            try:
                unpacked += len(packer.decompress(rest, BLOCK_BYTES))
            except zlib.error:
                return  # The reader reports the error.
            check_expansion(path, size, unpacked, "save it without deflating it")
            rest = packer.unconsumed_tail or file.read(BLOCK_BYTES)


def _slice(pydicom: Any, path: Path, dataset: Any) -> Slice:
    """The slice of a file; ValueError naming the file if it has no grey slice that can be
    decoded."""
    try:
        with quiet():
            if int(dataset.get("NumberOfFrames") or 1) > 1:
                raise ValueError(
                    f"holds {dataset.NumberOfFrames} frames: save one file for each slice"
                )
            photometric = str(dataset.get("PhotometricInterpretation", "none"))
            if photometric not in ("MONOCHROME1", "MONOCHROME2"):
                raise ValueError(f"has PhotometricInterpretation {photometric}, not grey values")
            syntax = dataset.file_meta.get("TransferSyntaxUID")
            if syntax is not None and syntax.is_compressed:
                _check_decoder(pydicom, syntax)
            elif syntax is None or not syntax.is_deflated:
                _check_length(path, dataset)
            return Slice(
                path,
                str(dataset.SeriesInstanceUID),
                str(dataset.get("PatientID") or ""),
                (int(dataset.Rows), int(dataset.Columns)),
                _numbers(dataset, "ImagePositionPatient", 3),
                _numbers(dataset, "ImageOrientationPatient", 6),
                _numbers(dataset, "PixelSpacing", 2),
                {
                    "PhotometricInterpretation": photometric,
                    "FrameOfReferenceUID": str(dataset.get("FrameOfReferenceUID", "")),
                    "PatientID": str(dataset.get("PatientID") or ""),
                },
            )
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path} {one_line(error)}") from None


def _check_length(path: Path, dataset: Any) -> None:
    size, num_pixels = path.stat().st_size, int(dataset.Rows) * int(dataset.Columns)
    if size < num_pixels * int(dataset.get("BitsAllocated") or 8) // 8:
        raise ValueError(f"is cut off: it has {size} bytes for {num_pixels} pixels")


def _check_decoder(pydicom: Any, syntax: Any) -> None:
    pixels = import_extra("pydicom.pixels", SOURCE, "dicom")
    try:
        decoder = pixels.get_decoder(syntax)
    except NotImplementedError:
        raise ValueError(f"is compressed as {syntax.name}, which cannot be decoded") from None
    if not decoder.is_available:
        missing = "; ".join(" ".join(str(each).split()) for each in decoder.missing_dependencies)
        raise ValueError(f"is compressed as {syntax.name}; no decoder is installed: {missing}")


def _numbers(dataset: Any, name: str, num: int) -> np.ndarray:
    value = dataset.get(name)
    if value is None or (isinstance(value, Sequence) and not len(value)):
        raise ValueError(f"has no {name}, so where its image lies is not known")
    numbers = np.array(value, np.float64).reshape(-1)
    if len(numbers) != num or not np.isfinite(numbers).all():
        raise ValueError(f"has {name} {value}, not {num} numbers")
    return numbers


def _series(slices: list[Slice]) -> Series:
    first = slices[0]
    name = f"series {first.series} ({first.path}{_more(len(slices) - 1)})"
    try:
        ordered, affine = order_slices(slices)
        rows, columns = first.shape
        axes = nearest_axes(affine, SOURCE, "dicom")
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None
    lattice = lattice_of((columns, rows, len(slices)), affine, axes)
    paths = tuple(each.path for each in ordered)
    return Series(first.series, first.patient, paths, affine, lattice)


def _more(num: int) -> str:
    return f" and {num} more files" if num else ""


def order_slices(slices: list[Slice]) -> tuple[list[Slice], np.ndarray]:
    """Slices along the normal of their plane, and the affine from (column, row, slice) to RAS.

    Raises ValueError, without naming the series, for slices that differ in size or kind, are not
    parallel, share a position, or have unequal distances.
    """
    first = slices[0]
    if len(slices) < MIN_SLICES:
        raise ValueError(f"has fewer slices ({len(slices)}) than the {MIN_SLICES} of a volume")
    for each in slices:
        _check_alike(first, each)
    along_row, along_column = first.orientation[:3], first.orientation[3:]
    lengths = np.array([along_row @ along_row, along_column @ along_column, 1.0])
    if np.abs(lengths - 1).max() > TOLERANCE or abs(along_row @ along_column) > TOLERANCE:
        raise ValueError(f"has ImageOrientationPatient {first.orientation.tolist()}: no two axes")
    normal = np.cross(along_row, along_column)
    ordered = sorted(slices, key=lambda each: float(each.position @ normal))
    positions = np.stack([each.position for each in ordered])
    steps = np.diff(positions @ normal)
    usual = float(np.median(steps))
    if (close := np.flatnonzero(steps <= TOLERANCE * max(usual, 1e-6))).size:
        one, other = ordered[close[0]].path, ordered[close[0] + 1].path
        raise ValueError(f"has two slices at one position: {one} and {other}")
    if (odd := np.flatnonzero(np.abs(steps / usual - 1) > TOLERANCE)).size:
        widest = int(odd[np.argmax(steps[odd])])
        raise ValueError(
            f"has slices at unequal distances, {usual:g} mm mostly and {steps[widest]:g} mm between"
            f" {ordered[widest].path} and {ordered[widest + 1].path}: is one missing?"
        )
    step = (positions[-1] - positions[0]) / (len(ordered) - 1)
    beside = np.linalg.norm(np.cross(step, normal))
    if beside > TOLERANCE * usual:
        raise ValueError(
            f"is sheared: each slice is shifted {beside:g} mm sideways from the one before it"
            " (a tilted gantry)"
        )
    affine = np.eye(4)
    affine[:3, 0] = along_row * first.spacing[1]
    affine[:3, 1] = along_column * first.spacing[0]
    affine[:3, 2], affine[:3, 3] = step, positions[0]
    return ordered, LPS_TO_RAS @ affine


def _check_alike(first: Slice, each: Slice) -> None:
    if each.shape != first.shape:
        raise ValueError(f"has images of {first.shape} and, in {each.path}, {each.shape} pixels")
    if np.abs(each.orientation - first.orientation).max() > TOLERANCE:
        raise ValueError(
            f"has images that are not parallel, such as {each.path}: a localiser is not a volume"
        )
    if not np.allclose(each.spacing, first.spacing, rtol=TOLERANCE, atol=0):
        raise ValueError(f"has images of different PixelSpacing, such as {each.path}")
    for name, value in each.kind.items():
        if value != first.kind[name]:
            raise ValueError(f"has images of different {name}, such as {each.path}")


def read_series(series: Series) -> np.ndarray:
    """The volume (D, H, W) float32 of a series; NaN marks voxels that a file declares as not
    measured.

    Rescale slope and intercept are applied and MONOCHROME1, whose low values are bright, is
    negated. Raises FileNotFoundError, or ValueError naming a file that is damaged or whose values
    have an unknown meaning.
    """
    pydicom = import_extra("pydicom", SOURCE, "dicom")
    slices = np.stack([_read_slice(pydicom, path) for path in series.paths])
    axes = nearest_axes(series.affine, SOURCE, "dicom")
    return to_frame(slices.transpose(2, 1, 0), axes, SOURCE)


def _read_slice(pydicom: Any, path: Path) -> np.ndarray:
    """Rows and columns (H, W) float32."""
    try:
        with quiet():
            dataset = pydicom.dcmread(path, force=True)
            _check_meaning(dataset)
            if "TransferSyntaxUID" not in dataset.file_meta:  # a file without a preamble
                is_implicit = dataset.original_encoding[0]
                name = "ImplicitVRLittleEndian" if is_implicit else "ExplicitVRLittleEndian"
                dataset.file_meta.TransferSyntaxUID = getattr(pydicom.uid, name)
            stored = stored_values(
                dataset.pixel_array,
                int(dataset.BitsStored),
                int(dataset.HighBit),
                bool(dataset.PixelRepresentation),
            )
            values = stored * _number(dataset, "RescaleSlope", 1.0)
            values += _number(dataset, "RescaleIntercept", 0.0)
            if dataset.PhotometricInterpretation == "MONOCHROME1":
                values = -values
            values[_is_padding(dataset, stored)] = np.nan
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing") from None
    except Exception as error:  # any error of its parser or decoder is a fault of the file
        raise_passing(error, path)
        raise ValueError(f"{path} cannot be read: {one_line(error)}") from None
    image: np.ndarray = np.asarray(values, np.float32)
    return image


def stored_values(
    pixels: np.ndarray, bits_stored: int, high_bit: int, is_signed: bool
) -> np.ndarray:
    """The numbers in the `bits_stored` bits up to `high_bit` of whole pixels, int64.

    Other bits (overlays, in old files) are ignored.
    """
    if pixels.dtype.kind not in "iu" or not 1 <= bits_stored <= 8 * pixels.dtype.itemsize:
        raise ValueError(f"{bits_stored} bits stored in {pixels.dtype}")
    raw = pixels.astype(np.int64) >> (high_bit + 1 - bits_stored)
    values: np.ndarray = raw & ((1 << bits_stored) - 1)
    if is_signed:
        values -= (values >> (bits_stored - 1)) << bits_stored
    return values


def _check_meaning(dataset: Any) -> None:
    if dataset.get("ModalityLUTSequence"):
        raise ValueError("its values are numbers of a ModalityLUTSequence, which is not known here")
    if _number(dataset, "RescaleSlope", 1.0) == 0:
        raise ValueError("its RescaleSlope is 0")


def _number(dataset: Any, name: str, usual: float) -> float:
    value = dataset.get(name)
    number = usual if value is None or value == "" else float(value)
    if not math.isfinite(number):
        raise ValueError(f"its {name} is {number:g}")
    return number


def _is_padding(dataset: Any, stored: np.ndarray) -> np.ndarray:
    """Which pixels have the padding value, or one in the padding range."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    is_padding: np.ndarray = (stored >= low) & (stored <= high)
    return is_padding
