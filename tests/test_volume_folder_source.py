"""Protects folders of volumes: classes, formats, scaling, and faults that name the file.

Also the listing of files by class, which folders of images share.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.volumes import anatomy, assert_reads_alike, write_nifti
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.settings.sources import VolumeFolderSourceConfig
from data_prep.sources.volumes import VolumeFolderSource
from orbit.core.reading.files import list_files
from orbit.core.reading.volumes import resample

RNG = np.random.default_rng(0)
CUBE = RNG.integers(0, 256, (12, 12, 12), dtype=np.uint8)
BINARY = (CUBE > 127).astype(np.uint8)


def source_of(root: Path, **settings) -> VolumeFolderSource:
    return VolumeFolderSource(VolumeFolderSourceConfig("volumes", str(root), **settings))


def read_all(root: Path, **settings) -> np.ndarray:
    source = source_of(root, **settings)
    return source.read("all", np.arange(source.num_images["all"]))[0]


def write_npy(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


@given(
    shape=st.tuples(*[st.integers(4, 12)] * 3),
    side=st.integers(4, 12),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_equal_voxels_are_cut_and_padded_only(shape, side: int, seed: int) -> None:
    """Voxels that keep their size and place are copied; what lies outside is 0."""
    volume = np.random.default_rng(seed).random(shape, np.float32)
    side += (side - shape[0]) % 2
    volume = volume[tuple(slice((num - side) % 2, None) for num in shape)]
    expected = np.zeros((side,) * 3, np.float32)
    into, out_of = [], []
    for num in volume.shape:
        before = (side - num) // 2
        into.append(slice(max(before, 0), max(before, 0) + min(num, side)))
        out_of.append(slice(max(-before, 0), max(-before, 0) + min(num, side)))
    expected[tuple(into)] = volume[tuple(out_of)]
    np.testing.assert_allclose(resample(volume, (1, 1, 1), side, side), expected, atol=1e-6)


@pytest.mark.parametrize("side", [8, 16, 24, 37])
def test_resampling_keeps_mass_and_place(side: int) -> None:
    """A cell's mass and centre stay where they are, whatever the resolution."""
    volume = np.zeros((24, 24, 24), np.float32)
    volume[8:17, 5:12, 11:20] = 1
    small = resample(volume, (1, 1, 1), 24, side)
    centres = (np.arange(side) + 0.5) * 24 / side
    assert small.sum() * (24 / side) ** 3 == pytest.approx(volume.sum(), rel=0.03)
    for axis, middle in enumerate((12.5, 8.5, 15.5)):
        profile = small.sum(tuple({0, 1, 2} - {axis}))
        assert (profile * centres).sum() / profile.sum() == pytest.approx(middle, abs=0.1)


def test_shrinking_does_not_alias() -> None:
    """Planes that alternate become grey, not black, white or a beat of both."""
    volume = np.zeros((33, 33, 33), np.float32)
    volume[::2] = 1
    inner = resample(volume, (1, 1, 1), 33, 10)[2:-2, 2:-2, 2:-2]
    assert np.abs(inner - 0.5).max() < 0.1


def test_folders_are_classes(tmp_path: Path) -> None:
    for folder, names in {"b": ("1.npy", "2.npy"), "a": ("9.npy",)}.items():
        for number, name in enumerate(names):
            write_npy(tmp_path / folder / name, CUBE + np.uint8(number))
    (tmp_path / "empty").mkdir()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x.png").touch()
    source = source_of(tmp_path)
    assert_reads_alike(source)
    assert source.read("all", np.arange(3))[1].tolist() == [0, 1, 1]
    assert source.label_meaning == "folder: 0 a, 1 b"
    assert list(source.checksums()) == ["a/9.npy", "b/1.npy", "b/2.npy"]
    files, labels, names = list_files(tmp_path, (".npy",))
    assert [file.name for file in files] == ["9.npy", "1.npy", "2.npy"]
    assert labels.tolist() == [0, 1, 1]
    assert names == ["a", "b"]


def test_uint8_goes_through_unchanged(tmp_path: Path) -> None:
    """With or without a channel, in C or Fortran order, as NPY or NIfTI."""
    write_npy(tmp_path / "1.npy", CUBE)
    write_npy(tmp_path / "2.npy", CUBE[None])
    write_npy(tmp_path / "3.npy", np.asfortranarray(CUBE))
    write_nifti(tmp_path / "4.nii.gz", CUBE[:, ::-1].transpose(2, 1, 0))
    frames = read_all(tmp_path, percentiles=None)
    assert (frames == CUBE).all()


def test_percentiles_scale_every_type(tmp_path: Path) -> None:
    for number, dtype in enumerate(("<f4", ">f8", "<i2", "u1")):
        write_npy(tmp_path / f"{number}.npy", (CUBE // 3).astype(dtype))
    frames = read_all(tmp_path, percentiles=(0, 100))
    assert np.abs(frames - np.rint(CUBE // 3 * 3.0)).max() <= 1
    clipped = read_all(tmp_path, percentiles=(20, 80))
    assert np.mean(clipped == 0) == pytest.approx(0.2, abs=0.03)
    assert np.mean(clipped == 255) == pytest.approx(0.2, abs=0.03)


def test_side_pads_to_a_cube_and_resamples(tmp_path: Path) -> None:
    """A slab of 8 x 16 x 4 mm, in voxels of 1 mm and in longer ones, in the middle of 16 mm."""
    write_npy(tmp_path / "1.npy", np.full((8, 16, 4), 200, np.uint8))
    write_nifti(tmp_path / "2.nii", np.full((2, 16, 8), 200, np.uint8), (2, 1, 1))
    frames = read_all(tmp_path, side=32, percentiles=None)
    assert frames.shape == (2, 1, 32, 32, 32)
    expected = np.zeros((32, 32, 32), bool)
    expected[8:24, :, 12:20] = True
    assert (np.mean((frames[:, 0] > 90) != expected, axis=(1, 2, 3)) < 0.04).all()
    assert (frames[:, 0, 10:22, 2:-2, 14:18] == 200).all()


def test_binary_stays_binary(tmp_path: Path) -> None:
    write_npy(tmp_path / "a" / "1.npy", BINARY)
    write_npy(tmp_path / "a" / "2.npy", BINARY.astype(bool))
    write_npy(tmp_path / "a" / "4.npy", BINARY * np.uint8(255))
    write_npy(tmp_path / "a" / "5.npy", BINARY * np.int16(3))
    write_npy(tmp_path / "a" / "6.npy", BINARY * 0.5)
    write_nifti(tmp_path / "b" / "3.nii", BINARY.astype(np.float32)[:, ::-1].transpose(2, 1, 0))
    assert (read_all(tmp_path, binary=True) == BINARY * 255).all()
    assert_reads_alike(source_of(tmp_path, binary=True, side=17))
    ball = anatomy((40, 40, 40), (1, 1, 1)) > 0
    write_npy(tmp_path / "ball" / "1.npy", ball)
    small = read_all(tmp_path / "ball", binary=True, side=20)
    assert (small > 0).sum() * 8 == pytest.approx(ball.sum(), rel=0.05)


def fault_of(array: np.ndarray) -> Callable[[Path], object]:
    return lambda root: np.save(root / "bad.npy", array)


def cut(root: Path) -> None:
    np.save(root / "bad.npy", CUBE)
    data = (root / "bad.npy").read_bytes()
    (root / "bad.npy").write_bytes(data[:-10])


def objects(root: Path) -> None:
    np.save(root / "bad.npy", np.array([[[{}]]], dtype=object), allow_pickle=True)


def archive(root: Path) -> None:
    np.savez(root / "bad.npz", CUBE)
    (root / "bad.npz").rename(root / "bad.npy")


def with_infinity(root: Path) -> None:
    volume = CUBE.astype(np.float32)
    volume[0, 0, 0] = np.inf
    np.save(root / "bad.npy", volume)


FAULTS = {
    "empty": (lambda root: (root / "bad.npy").touch(), {}, "not a readable NPY file"),
    "text": (lambda root: (root / "bad.npy").write_text("text"), {}, "not a readable NPY file"),
    "cut": (cut, {}, "not a readable NPY file"),
    "objects": (objects, {}, "not a readable NPY file"),
    "archive": (archive, {}, "archive"),
    "broken link": (
        lambda root: (root / "bad.npy").symlink_to("nowhere"),
        {},
        "a link to a file that is not there",
    ),
    "two axes": (fault_of(CUBE[0]), {}, "(12, 12)"),
    "two channels": (fault_of(np.stack([CUBE, CUBE])), {}, "(2, 12, 12, 12)"),
    "complex": (fault_of(CUBE.astype(complex)), {}, "complex128"),
    "not a cube": (fault_of(CUBE[:, 1:]), {}, "12 x 11 x 12"),
    "another size": (fault_of(CUBE[1:, 1:, 1:]), {}, "source.side=N"),
    "infinite": (with_infinity, {}, "infinite or beyond 32 bits: 1 of 1,728"),
    "constant": (fault_of(np.ones((12, 12, 12))), {}, "no contrast"),
    "not uint8": (fault_of(CUBE.astype(np.int16)), {"percentiles": None}, "int16, not uint8"),
    "no magic": (
        lambda root: (root / "bad.npy").write_text("x" * 400),
        {},
        "does not begin as NPY files do",
    ),
    "booleans": (fault_of(CUBE > 9), {}, "bad.npy holds booleans: set source.binary=true"),
    "booleans as they are": (
        fault_of(CUBE > 9),
        {"percentiles": None},
        "bad.npy holds booleans: set source.binary=true",
    ),
    "not binary": (
        fault_of(CUBE),
        {"binary": True},
        "is not a mask: besides 0 it holds values from 1 to 255",
    ),
    "bad NIfTI": (lambda root: (root / "bad.nii").write_text("x" * 400), {}, "NIfTI"),
    "files beside folders": (
        lambda root: write_npy(root / "folder" / "bad.npy", CUBE),
        {},
        "both beside",
    ),
    "folders in folders": (
        lambda root: write_npy(root / "folder" / "bad" / "a.npy", CUBE),
        {},
        "may not hold folders",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_line(fault: str, tmp_path: Path) -> None:
    damage, settings, words = FAULTS[fault]
    write_npy(tmp_path / "a.npy", BINARY)
    damage(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        read_all(tmp_path, **settings)
    assert words in str(caught.value)
    assert "bad" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_first_odd_file_is_named(tmp_path: Path) -> None:
    write_npy(tmp_path / "a.npy", CUBE[1:])
    with pytest.raises(ValueError, match=r"a\.npy holds 11 x 12 x 12 voxels, not a cube; source"):
        source_of(tmp_path)


def test_missing_and_empty_folders_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"source\.root=.*nowhere"):
        source_of(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds no file of"):
        source_of(tmp_path)
    with pytest.raises(ValueError, match=r"source\.root=DIR"):
        VolumeFolderSource(VolumeFolderSourceConfig("volumes"))
