"""Protects images of a user's own: what is decoded from which file, and how faults are told.

Grey, 16-bit, palette, transparent and CMYK files come out as documented; cutting is
about the centre and EXIF orientation is heeded; a bad file is one line that names it.
"""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_prep.reading.pictures import read_header, read_picture
from data_prep.settings.sources import ImageFolderSourceConfig
from data_prep.sources.image_folder import ImageFolderSource

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def folder(root: Path, size: int | None = None, colour: str = "auto") -> ImageFolderSource:
    return ImageFolderSource(ImageFolderSourceConfig("images", str(root), size, colour))


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def only(root: Path, colour: str = "auto", size: int | None = None) -> np.ndarray:
    return folder(root, size, colour).read("all", np.array([0]))[0][0]


@given(st.integers(0, 2**32 - 1), st.sampled_from(["png", "tif", "tiff"]), st.booleans())
def test_lossless_files_keep_every_value(
    tmp_path_factory: pytest.TempPathFactory, seed: int, suffix: str, is_grey: bool
) -> None:
    root = tmp_path_factory.mktemp("images")
    shape = (5, 5) if is_grey else (5, 5, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    save(root / f"a.{suffix}", pixels)
    expected = pixels[None] if is_grey else pixels.transpose(2, 0, 1)
    np.testing.assert_array_equal(only(root), expected)


def test_classes_order_and_checksums(tmp_path: Path) -> None:
    for name in ("dog/b.png", "cat/x.png", "dog/a.PNG"):
        save(tmp_path / name, GREY + len(name))
    source = folder(tmp_path)
    images, labels = source.read("all", np.array([2, 0, 1]))
    assert labels.tolist() == [1, 0, 1]
    assert source.label_meaning == "folder: 0 cat, 1 dog"
    assert source.num_images == {"all": 3}
    assert images.shape == (3, *source.image_shape) == (3, 1, 8, 8)
    assert list(source.checksums()) == ["cat/x.png", "dog/a.PNG", "dog/b.png"]
    copy: ImageFolderSource = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.read("all", np.array([0]))[0], images[1:2])


def test_a_class_may_be_named_like_a_split_beside_others(tmp_path: Path) -> None:
    for name in ("test/a.png", "sky/a.png"):
        save(tmp_path / name, GREY)
    assert folder(tmp_path).label_meaning == "folder: 0 sky, 1 test"


def test_without_folders_every_label_is_0(tmp_path: Path) -> None:
    save(tmp_path / "a.png", GREY)
    source = folder(tmp_path)
    assert source.read("all", np.array([0]))[1].tolist() == [0]
    assert source.label_meaning == "always 0: there are no folders"


def test_colour_is_that_of_the_files_or_as_asked(tmp_path: Path) -> None:
    save(tmp_path / "a.png", GREY)
    assert folder(tmp_path).image_shape == (1, 8, 8)
    save(tmp_path / "b.png", np.stack([GREY, GREY * 0, GREY * 0], 2))
    assert folder(tmp_path).image_shape == (3, 8, 8)
    assert folder(tmp_path, colour="grey").image_shape == (1, 8, 8)
    np.testing.assert_array_equal(only(tmp_path), np.stack([GREY] * 3))
    grey, _ = folder(tmp_path, colour="grey").read("all", np.array([1]))
    np.testing.assert_allclose(grey[0, 0], GREY * 0.299, atol=0.51)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_scaled_by_its_full_range(tmp_path: Path, suffix: str) -> None:
    deep = (np.arange(65536 // 64, dtype=np.uint16) * 64).reshape(32, 32)
    deep[0, :2] = (65535, 65279)
    save(tmp_path / f"deep.{suffix}", deep)
    image = only(tmp_path)
    assert image[0, 0, :2].tolist() == [255, 254]
    np.testing.assert_allclose(image[0], deep / 257, atol=0.51)


def test_palette_is_colour(tmp_path: Path) -> None:
    image = Image.fromarray(np.stack([GREY, 255 - GREY, GREY], 2)).quantize(4)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(only(tmp_path), np.array(image.convert("RGB")).transpose(2, 0, 1))


def test_transparent_places_are_black(tmp_path: Path) -> None:
    alpha = np.full((8, 8), 255, np.uint8)
    alpha[:4], alpha[4] = 0, 128
    save(tmp_path / "a.png", np.stack([*[np.full((8, 8), 200, np.uint8)] * 3, alpha], 2))
    rows = only(tmp_path)[0, :, 0]
    assert rows[:4].max() == 0
    assert abs(int(rows[4]) - 100) <= 1
    assert (rows[5:] == 200).all()


def test_grey_with_transparency_stays_grey(tmp_path: Path) -> None:
    save(tmp_path / "a.png", np.stack([GREY, np.full((8, 8), 255, np.uint8)], 2))
    np.testing.assert_array_equal(only(tmp_path), GREY[None])


@pytest.mark.parametrize(("name", "tolerance"), [("a.jpg", 12), ("a.tif", 0)])
def test_cmyk_becomes_rgb(tmp_path: Path, name: str, tolerance: int) -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    image.save(tmp_path / name)
    expected = np.array([255, 0, 0])
    assert np.abs(only(tmp_path)[:, 4, 4].astype(int) - expected).max() <= tolerance


TURNED = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""What EXIF says is shown, of what is stored."""


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("shape", [(8, 16), (8, 16, 3)])
@pytest.mark.parametrize(
    ("name", "options"),
    [("a.png", {}), ("a.tif", {}), ("a.tif", {"compression": "tiff_lzw"})],
)
def test_exif_orientation_is_heeded(
    tmp_path: Path,
    name: str,
    options: dict[str, str],
    shape: tuple[int, ...],
    orientation: int,
) -> None:
    """Once, by header and pixels alike: Pillow turns TIFF files itself, others not."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    path = save(tmp_path / name, pixels, exif=exif, **options)
    expected = np.atleast_3d(TURNED[orientation](pixels)).transpose(2, 0, 1)
    assert read_header(path)[:2] == (expected.shape[2], expected.shape[1])
    np.testing.assert_array_equal(read_picture(path, len(shape) == 2, None), expected)


@given(st.integers(6, 20), st.integers(0, 15), st.booleans())
def test_size_cuts_the_centre_square(
    tmp_path_factory: pytest.TempPathFactory, side: int, surplus: int, is_tall: bool
) -> None:
    root = tmp_path_factory.mktemp("images")
    inner = np.random.default_rng(side).integers(0, 256, (side, side), np.uint8)
    pixels = np.pad(
        inner, ((surplus, surplus), (0, 0)) if is_tall else ((0, 0), (surplus, surplus))
    )
    save(root / "a.png", pixels)
    np.testing.assert_array_equal(only(root, size=side)[0], inner)


def test_resizing_does_not_alias(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    save(tmp_path / "a.png", stripes)
    small = only(tmp_path, size=8)[0].astype(int)
    assert np.abs(small - 127).max() < 8


def oblong(root: Path) -> str:
    save(root / "b.png", GREY[:4])
    return "b.png is not square (8x4): source.size=N cuts and resizes"


def larger(root: Path) -> str:
    save(root / "b.png", np.pad(GREY, 1))
    return "b.png is 10x10 where a.png is 8x8: source.size=N cuts and resizes"


def no_picture(root: Path) -> str:
    (root / "b.png").write_text("not a picture")
    return "b.png is not a PNG, JPEG or TIFF picture"


def empty(root: Path) -> str:
    (root / "b.jpg").write_bytes(b"")
    return "b.jpg is not a PNG, JPEG or TIFF picture"


def other_format(root: Path) -> str:
    Image.fromarray(GREY).save(root / "b.png", format="BMP")
    return "b.png is not a PNG, JPEG or TIFF picture"


def header_only(root: Path) -> str:
    path = save(root / "b.png", GREY)
    path.write_bytes(path.read_bytes()[:20])
    return "b.png"


def torn_png(root: Path) -> str:
    path = save(root / "b.png", np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8))
    path.write_bytes(path.read_bytes()[:70])
    return "b.png cannot be decoded"


def torn_jpeg(root: Path) -> str:
    path = save(root / "b.jpg", np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8))
    path.write_bytes(path.read_bytes()[:-30])
    return "b.jpg cannot be decoded"


def torn_tiff(root: Path) -> str:
    path = save(root / "b.tif", GREY, compression="tiff_lzw")
    data = bytearray(path.read_bytes())
    data[8:30] = bytes(22)
    path.write_bytes(data)
    return "b.tif cannot be decoded"


def bit_rot(root: Path) -> str:
    path = save(root / "b.png", np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8))
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    return "b.png cannot be decoded"


def floating(root: Path) -> str:
    save(root / "b.tif", GREY.astype(np.float32))
    return "b.tif has pixels of mode F"


def pages(root: Path) -> str:
    page = Image.fromarray(GREY)
    page.save(root / "b.tif", save_all=True, append_images=[page, page])
    return "b.tif holds 3 pages"


def folders_of_splits(root: Path) -> str:
    (root / "a.png").unlink()
    for name in ("Validation", "train", "test"):
        save(root / name / "cat" / "x.png", GREY)
    return (
        "holds folders named like splits (Validation, test, train); put classes below one of"
        " them, or point source.root at one"
    )


FAULTS = [oblong, larger, no_picture, empty, other_format, header_only, torn_png, torn_jpeg]
FAULTS += [torn_tiff, bit_rot, floating, pages, folders_of_splits]


@pytest.mark.parametrize("spoil", FAULTS)
def test_faults_are_one_line_with_the_file(tmp_path: Path, spoil: Callable[[Path], str]) -> None:
    save(tmp_path / "a.png", GREY)
    fault = spoil(tmp_path)
    with pytest.raises(ValueError) as error:
        folder(tmp_path).read("all", np.array([0, 1]))
    assert fault in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("limit", [50, 20])
def test_decompression_bombs_are_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Above Pillow's limit it would warn, above twice that refuse."""
    save(tmp_path / "a.png", GREY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ValueError, match=r"a\.png has more pixels than are safe to decode"):
        folder(tmp_path)


def test_missing_root(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"give source\.root=DIR"):
        ImageFolderSource(ImageFolderSourceConfig("images"))
    with pytest.raises(FileNotFoundError, match="there is no such directory"):
        folder(tmp_path / "no")


def test_a_file_that_vanishes_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a.png", GREY)
    source = folder(tmp_path)
    (tmp_path / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.png is missing"):
        source.read("all", np.array([0]))
