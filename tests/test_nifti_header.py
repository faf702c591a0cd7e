"""Protects what NIfTI headers say of voxels: obeyed, or assumed in a line that names the file.

Two files that hold one anatomy must give one frame, however their headers put it.
"""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from helpers.volumes import anatomy, write_nifti

from data_prep.settings.sources import NiftiSourceConfig, VolumeFolderSourceConfig
from data_prep.sources.volumes import NiftiSource, VolumeFolderSource
from orbit.core.reading.nifti import read_header
from orbit.core.store.manifest import FrameSpec
from pipeline.application.reading import Preparation, read_frame, remarks

SIDE = 16
VOLUME = anatomy((20, 24, 16), (2, 1.5, 2))
AFFINE = np.diag([2, 1.5, 2, 1.0])
SWAPPED = np.diag([-2, 1.5, 2, 1.0])


def write(path: Path, edit: Callable[[Any], object] = lambda header: None) -> Path:
    """The anatomy in mm, its header edited as bytes in the file are."""
    write_nifti(path, VOLUME, affine=AFFINE)
    header = nibabel.load(path).header
    edit(header)
    header["vox_offset"] = 352
    data = bytearray(path.read_bytes())
    data[: len(header.binaryblock)] = header.binaryblock
    path.write_bytes(data)
    return path


def frames_of(root: Path, **settings) -> np.ndarray:
    source = NiftiSource(NiftiSourceConfig("nifti", str(root), side=SIDE, **settings))
    return source.read("all", np.arange(source.num_images["all"]))[0]


def assert_nearly(first: np.ndarray, second: np.ndarray) -> None:
    """Alike but for rounding: headers hold sizes in 32 bits."""
    assert first.any()
    assert np.abs(first.astype(int) - second).max() <= 1


def in_unit(code: int, factor: float, is_qform: bool = False) -> Callable[[Any], None]:
    def edit(header: Any) -> None:
        scaled = np.diag([*(np.diag(AFFINE)[:3] * factor), 1])
        header.set_qform(scaled, code=1 if is_qform else 0)
        header.set_sform(scaled, code=0 if is_qform else 2)
        header["pixdim"][1:4] = np.diag(scaled)[:3]
        header["xyzt_units"] = code

    return edit


UNITS = {
    "micron": (3, 1000.0),
    "metre": (1, 0.001),
    "millimetre": (2, 1.0),
    "micron and seconds": (3 + 8, 1000.0),
}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("is_qform", [False, True])
def test_units_of_length_do_not_show(unit: str, is_qform: bool, tmp_path: Path, capsys) -> None:
    write(tmp_path / "a.nii", lambda header: header.set_xyzt_units("mm"))
    write(tmp_path / "b.nii", in_unit(*UNITS[unit], is_qform))
    frames = frames_of(tmp_path)
    assert_nearly(frames[1], frames[0])
    assert_nearly(frames_of(tmp_path, extent_mm=40.0)[1], frames[0])
    assert read_header(tmp_path / "b.nii", "nifti").voxel_mm == pytest.approx((2, 1.5, 2))
    assert capsys.readouterr().err == ""


def test_units_count_for_folders_and_for_files_of_a_trained_model(tmp_path: Path) -> None:
    """A cube of an extent in mm is cut from micron voxels as from their twins in mm."""
    write(tmp_path / "a.nii")
    write(tmp_path / "b.nii", in_unit(3, 1000.0))
    spec = FrameSpec((1, SIDE, SIDE, SIDE), "uint8", (0.0, 255.0), (-1.0, 1.0))
    preparation = Preparation(
        spec, "pad", False, (0.5, 99.5), True, "refuse", extent_mm=30.0, margin=None
    )
    first, second = (read_frame(tmp_path / f"{name}.nii", preparation) for name in "ab")
    assert_nearly(first.values, second.values)
    assert second.voxel_mm == pytest.approx((30 / SIDE,) * 3)
    source = VolumeFolderSource(VolumeFolderSourceConfig("volumes", str(tmp_path), side=SIDE))
    assert_nearly(*source.read("all", np.arange(2))[0])


def test_a_missing_unit_is_said_only_where_others_state_theirs(tmp_path: Path, capsys) -> None:
    write(tmp_path / "a.nii", in_unit(0, 1.0))
    frames_of(tmp_path)
    assert capsys.readouterr().err == ""
    write(tmp_path / "b.nii", in_unit(2, 1.0))
    frames = frames_of(tmp_path)
    np.testing.assert_array_equal(frames[0], frames[1])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("a.nii: ")
    assert "millimetres are assumed" in line


def without_codes(header: Any) -> None:
    header.set_sform(AFFINE, code=0)
    header.set_qform(AFFINE, code=0)


def contradicting(header: Any) -> None:
    header.set_sform(AFFINE, code=1)
    header.set_qform(SWAPPED, code=1)


def other_sizes(header: Any) -> None:
    header["pixdim"][1:4] = 1


def unusable_qform(header: Any) -> None:
    header["qform_code"] = 1
    header["quatern_b"] = 5


def unknown_unit(header: Any) -> None:
    header["xyzt_units"] = 5


def negative_sizes(header: Any) -> None:
    without_codes(header)
    header["pixdim"][1:4] *= -1


REMARKS = {
    "no orientation code": (without_codes, "has no orientation code"),
    "no code and negative sizes": (negative_sizes, "has no orientation code"),
    "sform against qform": (contradicting, "turned or mirrored by its sform against its qform"),
    "sform against pixdim": (other_sizes, "other voxel sizes in its sform than in pixdim"),
    "unusable qform": (unusable_qform, "has a qform that cannot be used"),
    "unknown unit": (unknown_unit, "states an unknown unit of length (5)"),
}


@pytest.mark.parametrize("fault", REMARKS)
@pytest.mark.parametrize("name", ["b.nii", "b.nii.gz"])
def test_what_is_assumed_is_said_by_name(fault: str, name: str, tmp_path: Path, capsys) -> None:
    """And the anatomy is the one of the twin whose header is in order."""
    edit, words = REMARKS[fault]
    write(tmp_path / "a.nii")
    write(tmp_path / "b.nii", edit)
    if name != "b.nii":
        (tmp_path / name).write_bytes(gzip.compress((tmp_path / "b.nii").read_bytes()))
        (tmp_path / "b.nii").unlink()
    frames = frames_of(tmp_path)
    np.testing.assert_array_equal(frames[0], frames[1])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if words in line]
    assert line.startswith(f"{name}: ")
    spec = FrameSpec((1, SIDE, SIDE, SIDE), "uint8", (0.0, 255.0), (-1.0, 1.0))
    preparation = Preparation(spec, "pad", False, (0.5, 99.5), True, "refuse", None, None)
    assert remarks([tmp_path / "a.nii", tmp_path / name], preparation) == [f"{tmp_path}/{line}"]


def test_many_files_are_one_line(tmp_path: Path, capsys) -> None:
    for number in range(8):
        write(tmp_path / f"{number}.nii", without_codes)
    frames_of(tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert "2.nii and 5 more: has no orientation code" in line


def no_size(header: Any) -> None:
    without_codes(header)
    header["pixdim"][2] = 0


def no_size_with_qform(header: Any) -> None:
    header.set_sform(AFFINE, code=0)
    header["qform_code"] = 1
    header["pixdim"][2] = np.nan


@pytest.mark.parametrize("edit", [no_size, no_size_with_qform])
def test_voxels_without_a_size_are_refused(edit: Callable, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.nii", edit)
    with pytest.raises(ValueError, match=r"bad\.nii .*voxel sizes") as caught:
        read_header(path, "nifti")
    assert "\n" not in str(caught.value)


def test_byte_order_does_not_show(tmp_path: Path) -> None:
    write(tmp_path / "a.nii")
    image = nibabel.load(tmp_path / "a.nii")
    swapped = nibabel.Nifti1Image(VOLUME.astype(">f4"), AFFINE, image.header.as_byteswapped(">"))
    swapped.to_filename(tmp_path / "b.nii")
    frames = frames_of(tmp_path)
    np.testing.assert_array_equal(frames[0], frames[1])
