"""Protects preparation from MNIST files: faults are one line, splits share no image.

Every fault must name the file, exit with 1 and leave nothing behind.
"""

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.idx import idx_bytes, write_mnist
from helpers.programs import call, run

from data_prep.recipes import make_recipe
from data_prep.settings import PrepareConfig
from data_prep.sources.mnist import MnistSource
from orbit.core.config.compose import compose
from orbit.core.config.schema import build
from orbit.core.store.reader import PairStore

pytestmark = pytest.mark.usefixtures("starts_are_warm")

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def prepare(root: Path, out: Path, *words: str):
    return call(
        "data_prep/prepare.py",
        "dataset=rotated_mnist",
        f"source.root={root}",
        f"out={out}",
        "num_workers=1",
        *words,
    )


def change(name: str, edit: Callable[[bytes], bytes]) -> Callable[[Path], str]:
    def apply(folder: Path) -> str:
        (folder / name).write_bytes(edit((folder / name).read_bytes()))
        return name

    return apply


def pack(edit: Callable[[bytes], bytes]) -> Callable[[Path], str]:
    def apply(folder: Path) -> str:
        packed = gzip.compress((folder / IMAGES).read_bytes(), mtime=0)
        (folder / IMAGES).unlink()
        (folder / f"{IMAGES}.gz").write_bytes(edit(packed))
        return f"{IMAGES}.gz"

    return apply


def remove(folder: Path) -> str:
    (folder / LABELS).unlink()
    return LABELS


def flip(place: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def wrong_shape(_: bytes) -> bytes:
    return idx_bytes(np.zeros((50, 28, 27)))


def too_few_labels(_: bytes) -> bytes:
    return idx_bytes(np.zeros(49))


def header_that_promises_too_much(data: bytes) -> bytes:
    return data[:4] + struct.pack(">I", 2**32 - 1) + data[8:]


FAULTS = {
    "missing file": (remove, "is missing"),
    "truncated": (change(IMAGES, lambda data: data[:-100]), "bytes, but its header says"),
    "truncated labels": (change(LABELS, lambda data: data[:-1]), "bytes, but its header says"),
    "too long": (change(IMAGES, lambda data: data + b"\0"), "bytes, but its header says"),
    "empty": (change(IMAGES, lambda data: b""), "not an IDX file"),
    "cut in the header": (change(IMAGES, lambda data: data[:9]), "not an IDX file"),
    "wrong magic": (change(IMAGES, flip(0)), "not an IDX file"),
    "wrong type": (change(IMAGES, flip(2)), "not an IDX file"),
    "wrong number of axes": (change(IMAGES, lambda data: data[:3] + b"\7" + data[4:]), "axes"),
    "labels as images": (change(IMAGES, lambda _: idx_bytes(np.zeros(50))), "not images of"),
    "huge header": (change(IMAGES, header_that_promises_too_much), "bytes, but its header says"),
    "wrong shape": (change(IMAGES, wrong_shape), "not images of"),
    "labels mismatch": (change(LABELS, too_few_labels), "labels for 50 images"),
    "gz header": (pack(flip(0)), "cannot be unpacked"),
    "gz stream": (pack(flip(10)), "cannot be unpacked"),
    "gz body": (pack(flip(200)), "cannot be unpacked"),
    "gz checksum": (pack(flip(-8)), "cannot be unpacked"),
    "gz cut": (pack(lambda data: data[: len(data) // 2]), "cannot be unpacked"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_line_and_leave_nothing(fault: str, mnist_root: Path, tmp_path) -> None:
    damage, words = FAULTS[fault]
    name = damage(mnist_root / "MNIST" / "raw")
    before = sorted(tmp_path.rglob("*"))
    line = prepare(mnist_root, tmp_path / "out").error_line
    assert name in line
    assert words in line
    assert sorted(tmp_path.rglob("*")) == before


def test_missing_root_is_one_line(tmp_path: Path) -> None:
    assert "source.root=" in prepare(tmp_path / "nowhere", tmp_path / "out").error_line
    (tmp_path / "empty").mkdir()
    line = prepare(tmp_path / "empty", tmp_path / "out").error_line
    assert "MNIST/raw" in line
    assert "source.download=true" in line
    line = call("data_prep/prepare.py", "dataset=rotated_mnist", f"out={tmp_path}/out").error_line
    assert "source.root=DIR" in line
    assert not (tmp_path / "out").exists()


def test_a_fault_ends_the_process_with_one_line(mnist_root: Path, tmp_path: Path) -> None:
    """As a user sees it, nothing of this test's process involved."""
    name = pack(flip(200))(mnist_root / "MNIST" / "raw")
    words = ("dataset=rotated_mnist", f"source.root={mnist_root}", f"out={tmp_path}/out")
    line = run("data_prep/prepare.py", *words).error_line
    assert line.startswith("prepare.py: ")
    assert name in line
    assert not (tmp_path / "out").exists()


def test_packed_files_give_the_same_records(mnist_root: Path, tmp_path: Path) -> None:
    assert prepare(mnist_root, tmp_path / "plain").code == 0
    pack(lambda data: data)(mnist_root / "MNIST" / "raw")
    packed_root = mnist_root.rename(tmp_path / "packed_root")
    assert prepare(packed_root, tmp_path / "packed").code == 0
    plain, packed = (PairStore(tmp_path / name) for name in ("plain", "packed"))
    # The files' own checksums differ and are recorded, so only the records are alike.
    assert plain.manifest.source_checksums != packed.manifest.source_checksums
    for split in ("train", "val", "test"):
        numbers = np.arange(plain.split(split).num_records)
        for a, b in zip(
            plain.split(split).read(numbers), packed.split(split).read(numbers), strict=True
        ):
            assert np.array_equal(a, b)


def test_splits_share_no_image_and_lose_none(mnist_root: Path, tmp_path: Path) -> None:
    outcome = prepare(mnist_root, tmp_path / "out")
    assert outcome.code == 0, outcome.err
    store, source = PairStore(tmp_path / "out"), MnistSource(mnist_root)
    images = {part: source.read(part, np.arange(num))[0] for part, num in source.num_images.items()}
    found = {}
    for split, num in (("train", 40), ("val", 10), ("test", 20)):
        reader = store.split(split)
        records = reader.read(np.arange(reader.num_records))
        found[split] = {image.tobytes() for image in records.source}
        assert len(found[split]) == num
    assert not found["train"] & found["val"]
    assert found["train"] | found["val"] == {image.tobytes() for image in images["train"]}
    assert found["test"] == {image.tobytes() for image in images["test"]}
    assert store.manifest.splits["val"].records_per_source is None  # one drawn pair an image
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert set(manifest["source_checksums"]) == {
        path.name for path in (mnist_root / "MNIST" / "raw").iterdir()
    }


def make(root: Path, *words: str):
    pairs = ["dataset=rotated_mnist", f"source.root={root}", "out=out", *words]
    values = compose("prepare", pairs, frozenset({"out", "source.root"}), {"source": "dataset"})
    return make_recipe(build(PrepareConfig, values))


def num_records(recipe) -> dict[str, int]:
    counts: dict[str, int] = {}
    for plan in recipe.plans():
        counts[plan.split] = counts.get(plan.split, 0) + plan.layout.num_records
    return counts


def test_sizes_of_the_real_mnist(tmp_path: Path) -> None:
    """48,000, 12,000 and 10,000 images; whole orbits except for the fixed validation pairs."""
    folder = tmp_path / "MNIST" / "raw"
    write_mnist(tmp_path)
    for part, num in (("train", 60_000), ("t10k", 10_000)):
        # Sparse files: only their sizes matter here.
        for name, axes in (("images-idx3", (num, 28, 28)), ("labels-idx1", (num,))):
            header = struct.pack(f">2xBB{len(axes)}I", 8, len(axes), *axes)
            path = folder / f"{part}-{name}-ubyte"
            path.write_bytes(header)
            with open(path, "r+b") as file:
                file.truncate(len(header) + int(np.prod(axes)))
    recipe = make(tmp_path)
    assert num_records(recipe) == {"train": 4 * 48_000, "val": 12_000, "test": 4 * 10_000}
    drawn = np.concatenate(
        [
            np.concatenate([block.action[:, 0] for block in recipe.blocks(plan)])
            for plan in recipe.plans()
            if plan.split == "val"
        ]
    )
    counts = np.bincount(drawn.astype(int), minlength=4)
    assert ((counts - 3000) ** 2 / 3000).sum() < 16.3  # chi-square, 3 degrees, p = 0.001
    fewer = num_records(make(tmp_path, "num_samples=700"))
    assert fewer == {"train": 4 * 480, "val": 120, "test": 4 * 100}


def test_splits_that_cannot_be_made_are_refused(mnist_root: Path) -> None:
    with pytest.raises(ValueError, match="test_fraction must be null"):
        make(mnist_root, "dataset.test_fraction=0.1")
    with pytest.raises(ValueError, match="num_samples=71, but the source has 70 images"):
        make(mnist_root, "num_samples=71")
    with pytest.raises(ValueError, match="the train split would be empty"):
        make(mnist_root, "dataset.val_fraction=0.999")
