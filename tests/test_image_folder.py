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

from data_prep.settings.sources import ImageFolderSourceConfig
from data_prep.sources.image_folder import ImageFolderSource
from orbit.core.reading.pictures import read_header, read_picture

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
    return "b.png is not a picture of PNG, JPEG, TIFF, WebP, BMP or GIF"


def empty(root: Path) -> str:
    (root / "b.jpg").write_bytes(b"")
    return "b.jpg is empty (0 bytes)"


def git_lfs(root: Path) -> str:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n"
    (root / "b.png").write_text(pointer)
    return "b.png is a Git LFS pointer, not the file itself"


def git_annex(root: Path) -> str:
    (root / "b.png").write_text("/annex/objects/SHA256E-s12--ab.png\n")
    return "b.png is a git-annex pointer, not the file itself"


def web_page(root: Path) -> str:
    (root / "b.jpg").write_text("\n<!DOCTYPE html>\n<html><title>Not found</title>")
    return "b.jpg is an HTML page"


def zeros(root: Path) -> str:
    (root / "b.png").write_bytes(bytes(4000))
    return "b.png holds only zero bytes"


def array(root: Path) -> str:
    np.save(root / "b.npy", GREY)
    (root / "b.npy").rename(root / "b.png")
    return "b.png is an NPY array; read are PNG"


def damaged_header(root: Path) -> str:
    (root / "b.jpg").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    return "b.jpg is a PNG picture whose header is damaged"


def animation(name: str) -> Callable[[Path], str]:
    def spoil(root: Path) -> str:
        frames = [Image.fromarray(pixels) for pixels in (GREY, GREY[::-1].copy(), 255 - GREY)]
        frames[0].save(root / name, save_all=True, append_images=frames[1:])
        return f"{name} holds 3 frames, not one picture"

    return spoil


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
    return "b.tif holds floating-point numbers of 32 bits"


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


FAULTS = [oblong, larger, no_picture, empty, git_lfs, git_annex, web_page, zeros, array]
FAULTS += [damaged_header, header_only, torn_png, torn_jpeg, torn_tiff, bit_rot, floating, pages]
FAULTS += [*map(animation, ("b.png", "b.gif", "b.webp")), folders_of_splits]


@pytest.mark.parametrize("spoil", FAULTS)
def test_faults_are_one_line_with_the_file(tmp_path: Path, spoil: Callable[[Path], str]) -> None:
    save(tmp_path / "a.png", GREY)
    fault = spoil(tmp_path)
    with pytest.raises(ValueError) as error:
        folder(tmp_path).read("all", np.array([0, 1]))
    assert fault in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_format_is_told_by_content(tmp_path: Path) -> None:
    """As often: a WebP that somebody called .jpg."""
    Image.fromarray(GREY).save(tmp_path / "a.webp", lossless=True)
    (tmp_path / "a.webp").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(only(tmp_path, "grey"), GREY[None])


@pytest.mark.parametrize("suffix", ["webp", "bmp", "gif"])
@pytest.mark.parametrize("is_grey", [True, False])
def test_further_formats_keep_every_value(tmp_path: Path, suffix: str, is_grey: bool) -> None:
    pixels = GREY if is_grey else np.stack([GREY, 255 - GREY, GREY // 2], 2)
    save(tmp_path / f"a.{suffix}", pixels, **({"lossless": True} if suffix == "webp" else {}))
    found = only(tmp_path, "grey" if is_grey else "rgb")
    np.testing.assert_array_equal(found, pixels[None] if is_grey else pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", ["webp", "gif"])
def test_transparent_places_of_further_formats_are_black(tmp_path: Path, suffix: str) -> None:
    pixels = np.full((8, 8, 4), 200, np.uint8)
    pixels[..., 3] = 255 * (np.arange(8) >= 4)
    save(tmp_path / f"a.{suffix}", pixels, **({"lossless": True} if suffix == "webp" else {}))
    assert read_header(tmp_path / f"a.{suffix}").has_alpha
    shown = only(tmp_path, "rgb")
    assert (shown[:, :, :4] == 0).all()
    assert np.abs(shown[:, :, 4:].astype(int) - 200).max() <= 1


def test_a_photograph_with_a_gain_map_is_its_main_picture(tmp_path: Path) -> None:
    """JPEG files of telephones hold further pictures, of which only some are for the eye."""
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    assert only(tmp_path)[:, 4, 4].argmax() == 0


def test_the_limit_on_pixels_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Pillow's own limit is, whose excess it either warns of or refuses."""
    Image.new("L", (1001, 1001), 7).save(tmp_path / "a.png")
    for allowed in (700_000, 100, None):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", allowed)
        config = ImageFolderSourceConfig("images", str(tmp_path), 8, max_megapixels=1)
        with pytest.raises(ValueError, match=r"a\.png has 1001x1001 .*source\.max_megapixels=2"):
            ImageFolderSource(config)
        config = ImageFolderSourceConfig("images", str(tmp_path), 8, max_megapixels=2)
        images, _ = ImageFolderSource(config).read("all", np.array([0]))
        assert (images == 7).all()
        assert allowed == Image.MAX_IMAGE_PIXELS
    with pytest.raises(ValueError, match=r"max_megapixels=0 must be at least 1"):
        ImageFolderSourceConfig("images", str(tmp_path), max_megapixels=0)


def test_what_is_no_picture_is_passed_over_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "cat/a.png", GREY)
    save(tmp_path / "__MACOSX/cat/a.png", GREY)
    for name in ("README.md", "cat/Thumbs.db", "cat/desktop.ini", "cat/labels.csv"):
        (tmp_path / name).write_text("no picture")
    source = folder(tmp_path)
    assert source.label_meaning == "folder: 0 cat"
    assert source.num_images == {"all": 1}
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"ignored 5 entries below {tmp_path}: ")
    assert "1 Thumbs.db" in line


def test_a_folder_of_which_nothing_is_left_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_text("no picture")
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(ValueError, match=r"holds no file of \.png.*ignored 2 entries.*heic"):
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
