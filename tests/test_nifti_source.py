"""Protects brains from NIfTI files: how they lie in a frame, their scale, tables and faults.

How a scanner stored a volume must not show; a bad file is one line that names it.
"""

import gzip
import itertools
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from helpers.volumes import anatomy, assert_reads_alike, write_nifti

from data_prep.settings.sources import NiftiSourceConfig
from data_prep.sources.volumes import NiftiSource

SIDE = 16
ALL_ORIENTATIONS = [
    np.array(list(zip(order, flips, strict=True)))
    for order in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def source_of(root: Path, **settings) -> NiftiSource:
    return NiftiSource(NiftiSourceConfig("nifti", str(root), **{"side": SIDE, **settings}))


def read_all(root: Path, **settings) -> np.ndarray:
    source = source_of(root, **settings)
    return source.read("all", np.arange(source.num_images["all"]))[0]


def test_reads_alike(tmp_path: Path) -> None:
    for number in range(3):
        volume = anatomy((40, 44, 36), (1, 1, 1), seed=number)
        write_nifti(tmp_path / f"sub-{number}" / "anat.nii.gz", volume)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "a.nii").write_bytes(b"")
    source = source_of(tmp_path)
    assert_reads_alike(source)
    assert source.subjects("all") is None
    assert sorted(source.checksums()) == [f"sub-{number}/anat.nii.gz" for number in range(3)]
    frames = source.read("all", np.arange(3))[0]
    assert len({frame.tobytes() for frame in frames}) == 3


def test_axes_are_those_of_the_documentation(tmp_path: Path) -> None:
    """A bright corner on the right, in front and on top: last of W, first of H, last of D."""
    volume = np.ones((16, 16, 16), np.float32)
    volume[12:, 12:, 12:] = 9
    write_nifti(tmp_path / "a.nii", volume)
    frame = read_all(tmp_path, percentiles=(0, 100))[0, 0]
    assert (frame[12:, :4, 12:] == 255).all()
    assert (frame > 0).sum() == 4**3


@pytest.mark.parametrize("voxel_mm", [(1, 1, 1), (1.5, 1.0, 2.0)])
def test_storage_order_does_not_show(voxel_mm: tuple[float, ...], tmp_path: Path) -> None:
    """All 48 ways to store one volume, with the affines that say so, give one frame."""
    volume, affine = anatomy((26, 40, 20), voxel_mm), np.diag([*voxel_mm, 1.0])
    affine[:3, 3] = -20, 3, 7
    for number, way in enumerate(ALL_ORIENTATIONS):
        stored = nibabel.orientations.apply_orientation(volume, way)
        back = affine @ nibabel.orientations.inv_ornt_aff(way, volume.shape)
        write_nifti(tmp_path / f"{number:02d}.nii", stored, affine=back)
    frames = read_all(tmp_path)
    assert (frames == frames[0]).all()
    turned = [np.rot90(frames[0, 0], turns, axes) for turns in (1, 2) for axes in ((0, 1), (1, 2))]
    assert not any((frames[0, 0] == other).all() for other in turned)


def test_resolution_does_not_show(tmp_path: Path) -> None:
    """One anatomy at three resolutions gives nearly one frame, and not with wrong voxel sizes."""
    for number, voxel_mm in enumerate([(1, 1, 1), (2, 2, 2), (0.5, 1, 1.25)]):
        shape = tuple(round(40 / size) for size in voxel_mm)
        write_nifti(tmp_path / "all" / f"{number}.nii", anatomy(shape, voxel_mm), voxel_mm)
    frames = read_all(tmp_path / "all").astype(float)
    assert np.abs(frames[1:] - frames[0]).mean() < 3
    write_nifti(tmp_path / "wrong" / "0.nii", anatomy((80, 40, 32), (0.5, 1, 1.25)))
    assert np.abs(read_all(tmp_path / "wrong") - frames[0]).mean() > 10


def test_extent_is_the_largest_or_the_given_one(tmp_path: Path) -> None:
    """The anatomy is 36 mm wide: in a cube of 72 mm it takes half of each axis."""
    write_nifti(tmp_path / "a.nii", anatomy((40, 40, 40), (1, 1, 1)))
    write_nifti(tmp_path / "b.nii", anatomy((36, 36, 36), (2, 2, 2)), (2, 2, 2))
    for settings in ({}, {"extent_mm": 72.0}):
        frames = read_all(tmp_path, **settings)
        for axis in range(3):
            others = tuple(other for other in range(4) if other != axis + 1)
            assert 8 <= (frames[:, 0] > 0).any(others).sum() <= 10
    assert (read_all(tmp_path, extent_mm=10.0)[0] > 0).all()


@pytest.mark.parametrize("darkest", [1000.0, -255.5, -1000.0])
def test_percentiles_are_of_the_brain_and_background_stays_black(
    darkest: float, tmp_path: Path
) -> None:
    volume = np.zeros((16, 16, 16), np.float32)
    volume[4:12, 4:12, 4:12] = darkest + np.arange(512).reshape(8, 8, 8)
    write_nifti(tmp_path / "a.nii", volume)
    frame = read_all(tmp_path, percentiles=(10, 90))[0, 0]
    inside = frame[4:12, 4:12, 4:12]
    assert frame.sum(dtype=int) == inside.sum(dtype=int)
    assert np.mean(inside == 255) == pytest.approx(0.1, abs=0.01)
    assert np.mean(inside == 0) == pytest.approx(0.1, abs=0.01)
    assert np.median(inside) == pytest.approx(127.5, abs=2)


def test_oblique_axes_are_taken_for_the_nearest(tmp_path: Path) -> None:
    """Turned by 20 degrees, in RAS and with two axes swapped, voxels stay as they are."""
    volume, turn = anatomy((20, 20, 20), (1, 1, 1)), np.radians(20)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    write_nifti(tmp_path / "a.nii", volume)
    write_nifti(tmp_path / "b.nii", volume, affine=affine)
    write_nifti(tmp_path / "c.nii", volume.swapaxes(0, 1), affine=affine[:, [1, 0, 2, 3]])
    frames = read_all(tmp_path, extent_mm=20.0)
    assert (frames == frames[0]).all()


def write_table(root: Path, text: str) -> str:
    path = root.parent / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def three_files(root: Path) -> None:
    for name in ("a.nii", "b.nii", "c/d.nii.gz"):
        write_nifti(root / name, anatomy((20, 20, 20), (2, 2, 2)), (2, 2, 2))


def test_table_gives_labels_and_subjects(tmp_path: Path) -> None:
    root = tmp_path / "data"
    three_files(root)
    text = "subject,label,file,age\nq,well,c/d.nii.gz,1\np,ill,a.nii,2\nq,well,b.nii,3\n"
    source = source_of(root, table=write_table(root, text))
    assert source.read("all", np.array([0, 1, 2]))[1].tolist() == [0, 1, 1]
    assert source.subjects("all").tolist() == [0, 1, 1]
    assert source.subjects("all").dtype == np.int64
    assert "0 ill, 1 well" in source.label_meaning
    assert "labels.csv" in source.checksums()
    numbers = source_of(
        root, table=write_table(root, "file,label\nb.nii,7\na.nii,3\nc/d.nii.gz,-1")
    )
    assert numbers.read("all", np.array([0, 1, 2]))[1].tolist() == [3, 7, -1]
    assert numbers.subjects("all") is None


TABLES = {
    "names a missing file": ("file,label\na.nii,0\nb.nii,0\nc/d.nii.gz,0\ne.nii,1\n", "e.nii"),
    "lacks a file": ("file,label\na.nii,0\nb.nii,0\n", "c/d.nii.gz"),
    "lists a file twice": ("file,label\na.nii,0\nb.nii,0\nc/d.nii.gz,0\na.nii,0\n", "a.nii twice"),
    "lacks a column": ("file,diagnosis\na.nii,0\n", "no column label"),
    "lacks a cell": ("file,label\na.nii,0\nb.nii\n", "line 3: 1 values in 2 columns"),
    "has no rows": ("file,label\n", "no rows"),
    "is empty": ("", "no column file"),
    "gives too large a number": (
        f"file,label\na.nii,0\nb.nii,{2**63}\nc/d.nii.gz,0\n",
        f"line 3, file b.nii: label {2**63} does not fit into 64 bits",
    ),
    "is not text": ("file,label\n\0\udcff", "labels.csv"),
}


@pytest.mark.parametrize("fault", TABLES)
def test_faults_of_tables_are_one_line(fault: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    three_files(root)
    text, words = TABLES[fault]
    table = root.parent / "labels.csv"
    table.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError) as caught:
        source_of(root, table=str(table))
    assert words in str(caught.value)
    assert "labels.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def text_file(path: Path) -> None:
    path.write_text("no volume at all, but long enough to hold a header " * 20)


def cut(path: Path) -> None:
    data = write_nifti(path, anatomy((40, 40, 40), (1, 1, 1))).read_bytes()
    path.write_bytes(data[: len(data) // 2])


def cut_packed(path: Path) -> None:
    data = gzip.compress(write_nifti(path, anatomy((40, 40, 40), (1, 1, 1))).read_bytes())
    path.unlink()
    path.with_suffix(".nii.gz").write_bytes(data[: len(data) // 2])


def packed_rubbish(path: Path) -> None:
    path.with_suffix(".nii.gz").write_bytes(b"\x1f\x8b\x08\0rubbish" * 50)


def packed(path: Path) -> bytearray:
    """A file of random voxels, hence of blocks that gzip stores as they are."""
    volume = np.random.default_rng(0).random((16, 16, 16), np.float32)
    data = write_nifti(path, volume).read_bytes()
    path.unlink()
    return bytearray(gzip.compress(data, compresslevel=0))


def flipped_in_packed(path: Path) -> None:
    data = packed(path)
    data[len(data) // 2] ^= 1
    path.with_suffix(".nii.gz").write_bytes(data)


def wrong_checksum(path: Path) -> None:
    data = packed(path)
    data[-8] ^= 1
    path.with_suffix(".nii.gz").write_bytes(data)


def without_checksum(path: Path) -> None:
    path.with_suffix(".nii.gz").write_bytes(packed(path)[:-8])


def frames_over_time(path: Path) -> None:
    write_nifti(path, np.ones((8, 8, 8, 2), np.float32))


def not_finite(path: Path) -> None:
    volume = anatomy((40, 40, 40), (1, 1, 1))
    volume[20, 20, 20] = np.nan
    write_nifti(path, volume)


def singular(path: Path) -> None:
    write_nifti(path, np.ones((8, 8, 8), np.float32))
    image = nibabel.load(path)
    image.header["srow_x"], image.header["srow_y"] = (0, 0, 0, 0), (0, 0, 0, 0)
    data = bytearray(path.read_bytes())
    data[:348] = image.header.binaryblock
    path.write_bytes(data)


THIN = np.arange(8.0 * 8 * 2).reshape(8, 8, 2)

FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (text_file, "not a NIfTI file"),
    "empty": (lambda path: path.write_bytes(b""), "not a NIfTI file"),
    "cut": (cut, "is cut off: it has"),
    "cut and packed": (cut_packed, "cannot be read to its end"),
    "packed rubbish": (packed_rubbish, "not a NIfTI file"),
    "broken link": (lambda path: path.symlink_to("nowhere"), "a link to a file that is not there"),
    "flipped bit in packed": (flipped_in_packed, "cannot be read to its end: CRC check failed"),
    "wrong checksum": (wrong_checksum, "cannot be read to its end: CRC check failed"),
    "no checksum": (without_checksum, "cannot be read to its end"),
    "several frames": (frames_over_time, "(8, 8, 8, 2)"),
    "one slice": (lambda path: write_nifti(path, np.ones((8, 8), np.float32)), "(8, 8)"),
    "complex": (lambda path: write_nifti(path, np.ones((8, 8, 8), np.complex64)), "complex64"),
    "singular affine": (singular, "voxel sizes"),
    "NaN": (not_finite, "has voxels that are NaN: 1 of 64,000; a dataset prepared with source.nan"),
    "beyond float32": (
        lambda path: write_nifti(path, np.linspace(0, 1e300, 512).reshape(8, 8, 8)),
        "infinite or beyond 32 bits: 511 of 512",
    ),
    "constant": (lambda path: write_nifti(path, np.full((8, 8, 8), 3.0)), "no contrast"),
    "too thin": (lambda path: write_nifti(path, THIN, (1, 1, 0.1)), "less than one of 16 voxels"),
    "all zero": (lambda path: write_nifti(path, np.zeros((8, 8, 8))), "nothing but 0"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fault", FILES)
def test_faults_of_files_are_one_line(fault: str, tmp_path: Path) -> None:
    damage, words = FILES[fault]
    damage(tmp_path / "brain.nii")
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        read_all(tmp_path)
    assert words in str(caught.value)
    assert "brain.nii" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_single_frame_in_four_axes_is_a_volume(tmp_path: Path) -> None:
    volume = anatomy((20, 20, 20), (2, 2, 2))
    write_nifti(tmp_path / "a.nii", volume, (2, 2, 2))
    write_nifti(tmp_path / "b.nii", volume[..., None], (2, 2, 2))
    frames = read_all(tmp_path)
    assert (frames[0] == frames[1]).all()


def test_missing_and_empty_folders_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"source\.root=.*nowhere"):
        source_of(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds no file of \.nii"):
        source_of(tmp_path)
    with pytest.raises(ValueError, match=r"source\.root=DIR"):
        NiftiSource(NiftiSourceConfig("nifti"))
    three_files(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"source\.table=.*nowhere"):
        source_of(tmp_path, table=str(tmp_path / "nowhere.csv"))
