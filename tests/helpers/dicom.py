"""Small DICOM series, written slice by slice."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def write_series(
    folder: Path,
    volume: np.ndarray,
    voxel_mm: tuple[float, float, float] = (2.0, 2.0, 2.0),
    uid: str = "1.2.3",
    patient: str = "",
    orientation: tuple[float, ...] = AXIAL,
    edit: Callable[[Dataset, int], object] = lambda dataset, index: None,
    **tags: Any,
) -> list[Path]:
    """Slices (k, row, column) of whole numbers under names in a random order.

    `voxel_mm` are slice distance, row distance and column distance. Paths come back from
    slice to slice. `edit` changes the tags of a slice, `tags` those of all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(orientation[:3], orientation[3:])
    names = random.Random(0).sample(range(1000), len(volume))
    paths = []
    for index, pixels in enumerate(volume):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        instance = generate_uid(entropy_srcs=[uid, str(index)])
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = instance
        dataset.SeriesInstanceUID, dataset.PatientID = uid, patient
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, int(pixels.dtype.kind == "i")
        dataset.PixelSpacing = list(voxel_mm[1:])
        dataset.ImageOrientationPatient = list(orientation)
        dataset.ImagePositionPatient = [round(float(x), 6) for x in normal * index * voxel_mm[0]]
        dataset.PixelData = pixels.astype(f"<{pixels.dtype.kind}2").tobytes()
        for name, value in tags.items():
            setattr(dataset, name, value)
        edit(dataset, index)
        paths.append(folder / f"file{names[index]:03}")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths
