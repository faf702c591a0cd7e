"""Protects DICOM series: put together by their tags, their numbers read as those say, faults named.

A series must give the frame that the same voxels give as NIfTI.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.dicom import AXIAL, write_series
from helpers.preparing import prepare
from helpers.volumes import anatomy, assert_reads_alike, write_nifti
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian, RLELossless

from data_prep.settings.sources import DicomSourceConfig, VolumeFolderSourceConfig
from data_prep.sources.volumes import DicomSource, VolumeFolderSource
from orbit.core.reading.dicom import find_series, read_series, stored_values
from orbit.core.store.manifest import read_manifest

SIDE = 12
VOXEL_MM = (3.0, 2.0, 1.5)
RAS = np.rint(anatomy((24, 20, 14), VOXEL_MM[::-1])).astype(np.uint16)
"""Axes x, y, z as in a NIfTI file in RAS."""
LPS_SLICES = np.ascontiguousarray(RAS[::-1, ::-1].transpose(2, 1, 0))
"""The same as axial slices: columns run to the left, rows to the back, slices up."""


def source_of(root: Path, **settings) -> DicomSource:
    return DicomSource(DicomSourceConfig("dicom", str(root), **{"side": SIDE, **settings}))


def frames_of(source) -> np.ndarray:
    return source.read("all", np.arange(source.num_images["all"]))[0]


def only_volume(root: Path) -> np.ndarray:
    (series,), _ = find_series(root, "source.root")
    return read_series(series)


def test_a_series_is_the_volume_that_nifti_gives(tmp_path: Path) -> None:
    write_series(tmp_path / "d", LPS_SLICES, VOXEL_MM)
    write_nifti(tmp_path / "n" / "a.nii", RAS, VOXEL_MM[::-1])
    config = VolumeFolderSourceConfig("volumes", str(tmp_path / "n"), side=SIDE)
    source = source_of(tmp_path / "d")
    assert_reads_alike(source)
    np.testing.assert_array_equal(frames_of(source), frames_of(VolumeFolderSource(config)))


PLANES = {
    "axial": (LPS_SLICES, VOXEL_MM, AXIAL),
    "from above": (LPS_SLICES[::-1, :, ::-1], VOXEL_MM, (-1.0, 0, 0, 0, 1.0, 0)),
    "coronal": (
        LPS_SLICES.transpose(1, 0, 2)[:, ::-1],
        (2.0, 3.0, 1.5),
        (1.0, 0, 0, 0, 0, -1.0),
    ),
    "sagittal": (
        LPS_SLICES.transpose(2, 0, 1)[::-1, ::-1],
        (1.5, 3.0, 2.0),
        (0, 1.0, 0, 0, 0, -1.0),
    ),
}


@pytest.mark.parametrize("plane", PLANES)
def test_the_plane_of_the_slices_does_not_show(plane: str, tmp_path: Path) -> None:
    volume, voxel_mm, orientation = PLANES[plane]
    write_series(tmp_path, volume, voxel_mm, orientation=orientation)
    np.testing.assert_array_equal(only_volume(tmp_path), RAS.transpose(2, 1, 0)[:, ::-1])
    (series,), _ = find_series(tmp_path, "source.root")
    assert series.lattice.voxel_mm == pytest.approx(VOXEL_MM)


def test_series_are_told_apart_by_their_uid_alone(tmp_path: Path) -> None:
    """Three series, two of one patient, spread over folders that mean nothing."""
    for uid, patient, factor in (("1.9", "p", 1), ("1.2", "q", 2), ("1.5", "p", 3)):
        volume = LPS_SLICES[: 14 - factor]
        paths = write_series(tmp_path / uid, volume, VOXEL_MM, uid, patient)
        for number, path in enumerate(paths):
            folder = tmp_path / "mixed" / str(number % 2)
            folder.mkdir(parents=True, exist_ok=True)
            shutil.move(path, folder / f"{uid}_{number}.ima")
    source = source_of(tmp_path)
    assert source.num_images == {"all": 3}
    assert list(source.checksums()) == ["1.2", "1.5", "1.9"]
    subjects = source.subjects("all")
    assert subjects[1] == subjects[2] != subjects[0]
    table = tmp_path.parent / "labels.csv"
    table.write_text("file,label,subject\n1.5,well,a\n1.2,ill,a\n1.9,ill,b\n")
    labelled = source_of(tmp_path, table=str(table))
    assert labelled.read("all", np.arange(3))[1].tolist() == [0, 1, 0]
    assert labelled.subjects("all").tolist() == [0, 0, 1]


def test_what_is_no_image_is_passed_over_with_a_count(tmp_path: Path, capsys) -> None:
    paths = write_series(tmp_path / "a", LPS_SLICES, VOXEL_MM)
    report = dcmread(paths[0])
    for name in ("Rows", "Columns", "PixelData"):
        delattr(report, name)
    report.save_as(tmp_path / "report")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "short").write_bytes(b"\x08\x00")
    (tmp_path / "rubbish").write_bytes(b"\x08\x00" + bytes(range(256)) * 4)
    assert source_of(tmp_path).num_images == {"all": 1}
    err = capsys.readouterr().err
    assert "3 files that are not DICOM" in err
    assert "1 DICOM files without an image" in err


def test_files_without_a_preamble_are_read(tmp_path: Path) -> None:
    def implicit(dataset: Dataset, index: int) -> None:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian

    paths = write_series(tmp_path, LPS_SLICES, VOXEL_MM, edit=implicit)
    for path in paths:
        dataset = dcmread(path)
        del dataset.file_meta
        dataset.preamble = None
        dataset.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
        assert path.read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(only_volume(tmp_path), RAS.transpose(2, 1, 0)[:, ::-1])


EXPECTED = RAS.transpose(2, 1, 0)[:, ::-1].astype(np.float32)


def test_slope_and_intercept_of_each_slice_are_obeyed(tmp_path: Path) -> None:
    def halve_odd_ones(dataset: Dataset, index: int) -> None:
        if index % 2:
            half = (LPS_SLICES[index] // 2).astype("<u2")
            dataset.PixelData, dataset.RescaleSlope = half.tobytes(), 2
        dataset.RescaleIntercept = -1024

    write_series(tmp_path, LPS_SLICES, VOXEL_MM, edit=halve_odd_ones)
    assert np.abs(only_volume(tmp_path) - (EXPECTED - 1024)).max() <= 1


def test_inverted_contrast_is_turned_back(tmp_path: Path) -> None:
    write_series(
        tmp_path / "1", 999 - LPS_SLICES, VOXEL_MM, PhotometricInterpretation="MONOCHROME1"
    )
    write_series(tmp_path / "2", LPS_SLICES, VOXEL_MM, "1.2.4")
    frames = frames_of(source_of(tmp_path))
    np.testing.assert_array_equal(frames[0], frames[1])


def test_signed_values_and_bits_beside_them(tmp_path: Path) -> None:
    """12 signed bits with an overlay in the four above."""
    signed = LPS_SLICES.astype(np.int64) - 400
    raw = ((signed & 0xFFF) | 0x5000).astype(np.uint16)
    write_series(tmp_path, raw, VOXEL_MM, BitsStored=12, HighBit=11, PixelRepresentation=1)
    np.testing.assert_array_equal(only_volume(tmp_path), EXPECTED - 400)
    shifted = stored_values(np.array([0x7FF0, 0x8010], np.uint16), 12, 15, True)
    assert shifted.tolist() == [0x7FF, 0x801 - 0x1000]


def test_padding_is_background(tmp_path: Path) -> None:
    """Pixels that nothing was measured for neither set the percentiles nor show."""
    padded = LPS_SLICES.astype(np.int16)
    padded[LPS_SLICES == 0] = -2000
    padded[0, 0, 0] = -1990
    write_series(tmp_path, padded, VOXEL_MM, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990)
    volume = only_volume(tmp_path)
    np.testing.assert_array_equal(np.isnan(volume), EXPECTED == 0)
    frame = frames_of(source_of(tmp_path))
    assert frame.max() > 200
    assert (frame == 0).mean() > 0.3


def test_compressed_pixels_are_decoded_or_the_missing_decoder_is_named(
    tmp_path: Path, monkeypatch
) -> None:
    paths = write_series(tmp_path, LPS_SLICES, VOXEL_MM)
    for path in paths:
        dataset = dcmread(path)
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.save_as(path)
    np.testing.assert_array_equal(only_volume(tmp_path), EXPECTED)
    from pydicom.pixels import get_decoder

    monkeypatch.setattr(get_decoder(RLELossless), "_available", {})
    with pytest.raises(ValueError, match="compressed as RLE Lossless; no decoder is installed"):
        find_series(tmp_path, "source.root")


def test_the_dataset_is_prepared(tmp_path: Path) -> None:
    for number in range(4):
        write_series(tmp_path / "in" / str(number), LPS_SLICES + np.uint16(number), VOXEL_MM,
                     f"1.2.{number}")  # fmt: skip
    prepare(tmp_path / "out", "dataset=brain_mri", "source=dicom", f"source.root={tmp_path}/in",
            "source.side=16")  # fmt: skip
    manifest = read_manifest(tmp_path / "out")
    assert manifest.origin.source.name == "dicom"
    assert manifest.frames.shape == (1, 16, 16, 16)
    assert set(manifest.source_checksums) == {f"1.2.{number}" for number in range(4)}


def set_tags(**tags) -> Callable[[list[Path]], object]:
    """One slice in the middle gets other tags."""

    def apply(paths: list[Path]) -> None:
        dataset = dcmread(paths[5])
        for name, value in tags.items():
            if value is None:
                delattr(dataset, name)
            else:
                setattr(dataset, name, value)
        dataset.save_as(paths[5])

    return apply


def set_all(**tags) -> Callable[[list[Path]], object]:
    return lambda paths: [set_tags(**tags)([path] * 6) for path in paths]


def cut(paths: list[Path]) -> None:
    paths[5].write_bytes(paths[5].read_bytes()[:-100])


def cut_in_the_tags(paths: list[Path]) -> None:
    paths[5].write_bytes(paths[5].read_bytes()[:300])


def copied(paths: list[Path]) -> None:
    shutil.copy(paths[5], paths[5].with_name("a_copy"))


def few(paths: list[Path]) -> None:
    for path in paths[2:]:
        path.unlink()


def sheared(paths: list[Path]) -> None:
    for index, path in enumerate(paths):
        set_tags(ImagePositionPatient=[0.0, 0.5 * index, 3.0 * index])([path] * 6)


def compressed(paths: list[Path]) -> None:
    dataset = dcmread(paths[5])
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    dataset.PixelData = b"\xfe\xff\x00\xe0\x00\x00\x00\x00"
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(paths[5], enforce_file_format=True)


FAULTS: dict[str, tuple[Callable[[list[Path]], object], str]] = {
    "missing slice": (lambda paths: paths[5].unlink(), "6 mm between"),
    "the same slice twice": (copied, "two slices at one position"),
    "another echo at one place": (
        set_tags(ImagePositionPatient=[0.0, 0.0, 12.0]),
        "two slices at one position",
    ),
    "two slices": (few, "has fewer slices (2) than the 3"),
    "localiser": (set_tags(ImageOrientationPatient=[0, 1.0, 0, 0, 0, -1.0]), "not parallel"),
    "tilted gantry": (sheared, "is sheared"),
    "no position": (set_tags(ImagePositionPatient=None), "has no ImagePositionPatient"),
    "no orientation": (set_tags(ImageOrientationPatient=None), "has no ImageOrientationPatient"),
    "no spacing": (set_tags(PixelSpacing=None), "has no PixelSpacing"),
    "zero spacing": (set_all(PixelSpacing=[0, 0]), "gives voxel sizes of"),
    "other spacing": (set_tags(PixelSpacing=[1, 1]), "different PixelSpacing"),
    "no axes": (set_all(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "no two axes"),
    "other frame of reference": (set_tags(FrameOfReferenceUID="1.7"), "FrameOfReferenceUID"),
    "other patient": (set_tags(PatientID="another"), "different PatientID"),
    "another size": (set_tags(Rows=10), "(20, 24) pixels"),
    "colours": (set_tags(PhotometricInterpretation="RGB", SamplesPerPixel=3), "not grey"),
    "several frames": (set_tags(NumberOfFrames=7), "holds 7 frames: save one file"),
    "unknown compression": (compressed, "is compressed as MPEG2"),
    "cut": (cut, "cannot be read"),
    "cut in the tags": (cut_in_the_tags, "6 mm between"),
    "table of values": (
        set_tags(ModalityLUTSequence=Sequence([Dataset()])),
        "ModalityLUTSequence, which is not known",
    ),
    "no slope": (set_tags(RescaleSlope=0), "RescaleSlope is 0"),
    "constant": (set_all(PixelData=bytes(2 * 20 * 24)), "has no contrast"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_line_with_a_file(fault: str, tmp_path: Path, capsys) -> None:
    damage, words = FAULTS[fault]
    damage(write_series(tmp_path, LPS_SLICES, VOXEL_MM))
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        frames_of(source_of(tmp_path))
    assert words in str(caught.value)
    assert f"{tmp_path}/" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_empty_folders_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"source\.root=.*nowhere"):
        source_of(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match="holds no DICOM image"):
        source_of(tmp_path)
    with pytest.raises(ValueError, match=r"source\.root=DIR"):
        DicomSource(DicomSourceConfig("dicom"))
