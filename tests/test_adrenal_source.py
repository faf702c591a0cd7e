"""Protects AdrenalMNIST3D: only the published file unless asked, and whole binary volumes."""

import hashlib
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.volumes import assert_reads_alike

from data_prep.settings.sources import MedmnistSourceConfig
from data_prep.sources import adrenal
from data_prep.sources.adrenal import AdrenalSource

NUM = {"train": 7, "val": 3, "test": 4}
Arrays = dict[str, np.ndarray]


def make_arrays(side: int = 28, inside: int = 1) -> Arrays:
    rng = np.random.default_rng(0)
    arrays = {}
    for part, num in NUM.items():
        mask = rng.random((num, side, side, side)) < 0.3
        arrays[f"{part}_images"] = mask.astype(np.uint8) * np.uint8(inside)
        arrays[f"{part}_labels"] = (np.arange(num) % 2).astype(np.uint8)[:, None]
    return arrays


def write(root: Path, arrays: Arrays, name: str = "adrenalmnist3d.npz") -> Path:
    np.savez_compressed(root / name, **arrays)
    return root / name


def source_of(root: Path, **settings) -> AdrenalSource:
    return AdrenalSource(
        MedmnistSourceConfig("medmnist", str(root), **{"check_md5": False, **settings})
    )


@pytest.mark.parametrize("inside", [1, 7, 255])
@pytest.mark.parametrize("side", [28, 64])
def test_reads_the_official_parts(side: int, inside: int, tmp_path: Path) -> None:
    arrays = make_arrays(side, inside)
    path = write(tmp_path, arrays, adrenal.FILE_NAMES[side])
    source = source_of(tmp_path, side=side)
    assert source.num_images == NUM
    assert source.is_binary
    for part, num in NUM.items():
        assert_reads_alike(source, part)
        frames, labels = source_of(path, side=side).read(part, np.arange(num))
        assert (frames[:, 0] == (arrays[f"{part}_images"] > 0) * 255).all()
        assert (labels == arrays[f"{part}_labels"][:, 0]).all()
    assert source.checksums() == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}


def test_only_the_published_file_unless_asked(tmp_path: Path, monkeypatch) -> None:
    path = write(tmp_path, make_arrays())
    found = hashlib.md5(path.read_bytes()).hexdigest()
    with pytest.raises(ValueError) as caught:
        source_of(tmp_path, check_md5=True)
    for words in (path.name, found, adrenal.MD5[28], "source.check_md5=false"):
        assert words in str(caught.value)
    monkeypatch.setitem(adrenal.MD5, 28, found)
    assert source_of(tmp_path, check_md5=True).num_images == NUM


def change(name: str, edit: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], object]:
    def apply(root: Path) -> None:
        arrays = make_arrays()
        arrays[name] = edit(arrays[name])
        write(root, arrays)

    return apply


def without_labels(root: Path) -> None:
    arrays = make_arrays()
    del arrays["val_labels"]
    write(root, arrays)


def cut(root: Path) -> None:
    path = write(root, make_arrays())
    path.write_bytes(path.read_bytes()[:-1000])


def damaged(root: Path) -> None:
    path = write(root, make_arrays())
    data = bytearray(path.read_bytes())
    data[2000:2100] = bytes(100)
    path.write_bytes(data)


def objects(root: Path) -> None:
    arrays = make_arrays()
    arrays["train_labels"] = np.array([{}] * 7, dtype=object)
    np.savez(root / "adrenalmnist3d.npz", **arrays)


def other_archive(root: Path) -> None:
    with zipfile.ZipFile(root / "adrenalmnist3d.npz", "w") as archive:
        archive.writestr("train_images", "text")


def single_array(root: Path) -> None:
    with open(root / "adrenalmnist3d.npz", "wb") as file:
        np.save(file, make_arrays()["train_images"])


FAULTS = {
    "missing array": (without_labels, "it holds no val_labels"),
    "cut": (cut, "not a complete zip archive"),
    "damaged": (damaged, "Bad CRC-32"),
    "empty": (lambda root: (root / "adrenalmnist3d.npz").touch(), "not a complete zip archive"),
    "text": (lambda root: (root / "adrenalmnist3d.npz").write_text("text"), "not a complete zip"),
    "objects": (objects, "holds Python objects"),
    "another archive": (other_archive, "train_images is not an array"),
    "single array": (single_array, "single array"),
    "another side": (change("test_images", lambda images: images[:, 1:]), "(4, 27, 28, 28)"),
    "no volumes": (change("val_images", lambda images: images[:0]), "(0, 28, 28, 28)"),
    "too few labels": (change("val_labels", lambda labels: labels[1:]), "for 3 volumes"),
    "labels of text": (change("val_labels", lambda labels: labels.astype(str)), "val_labels"),
    "third class": (change("val_labels", lambda labels: labels + 1), "other than 0 and 1"),
    "three values": (change("test_images", lambda images: images + images[::-1]), "is not a mask"),
    "floats": (change("test_images", lambda images: images / 2), "float64, not uint8"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_line(fault: str, tmp_path: Path) -> None:
    damage, words = FAULTS[fault]
    damage(tmp_path)
    with pytest.raises(ValueError) as caught:
        source_of(tmp_path)
    assert words in str(caught.value)
    assert "adrenalmnist3d.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nowhere", tmp_path / "adrenalmnist3d.npz"):
        with pytest.raises(FileNotFoundError, match=r"adrenalmnist3d\.npz.*source\.download=true"):
            source_of(root)
    with pytest.raises(ValueError, match=r"source\.root=PATH"):
        AdrenalSource(MedmnistSourceConfig("medmnist"))


def test_absent_library_says_how_to_install_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "medmnist", None)
    with pytest.raises(ValueError, match=r"needs medmnist: pip install -e '\.\[medmnist\]'"):
        source_of(tmp_path, download=True)
