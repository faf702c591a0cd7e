"""The voxels of a DICOM series: what the stored numbers mean is what its tags say."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.reading.dicom_series import SOURCE, Series, one_line, quiet
from data_prep.reading.extras import import_extra
from data_prep.reading.orientation import nearest_axes, to_frame
from pipeline.files.hiccups import raise_passing


def read_series(series: Series) -> np.ndarray:
    """The volume (D, H, W) float32 of a series; NaN where a file says that nothing was measured.

    Rescale slope and intercept are applied and MONOCHROME1, whose low values are bright, is
    negated. Raises FileNotFoundError, or ValueError naming the file that is damaged or whose
    numbers have a meaning that is not known.
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
    except Exception as error:  # whatever its parser or decoder stumbles over is the file's fault
        raise_passing(error, path)
        raise ValueError(f"{path} cannot be read: {one_line(error)}") from None
    image: np.ndarray = np.asarray(values, np.float32)
    return image


def stored_values(
    pixels: np.ndarray, bits_stored: int, high_bit: int, is_signed: bool
) -> np.ndarray:
    """The numbers in the `bits_stored` bits up to `high_bit` of whole pixels, int64.

    What stands in further bits (overlays, in old files) does not count.
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
    """Pixels of the value, or between the values, that stand for nothing measured."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    is_padding: np.ndarray = (stored >= low) & (stored <= high)
    return is_padding
