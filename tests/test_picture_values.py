"""Protects what a picture's values mean: metadata that change it are obeyed, or refused by name.

Each file is written byte by byte beside an ordinary twin that shows the same.
"""

import struct
from pathlib import Path

import numpy as np
import pytest
from helpers.raw_pictures import swapped_profile, write_png, write_tiff
from PIL import Image, ImageCms

from orbit.core.reading.pictures import read_cut_out, read_header, read_picture

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
DEEP = (np.arange(64, dtype=np.uint16) * 1040).reshape(8, 8)
COLOURS = np.stack([GREY, 255 - GREY, GREY.T], -1)
RGB = COLOURS.transpose(2, 0, 1)
LINEAR = struct.pack(">I", 100000)


def grey(path: Path) -> np.ndarray:
    return read_picture(path, True, None)[0]


def rgb(path: Path) -> np.ndarray:
    return read_picture(path, False, None)


def to_8_bits(values: np.ndarray, white: int = 65535) -> np.ndarray:
    return np.rint(values.astype(float) / white * 255).astype(np.uint8)


@pytest.mark.parametrize("pixels", [GREY, DEEP])
def test_white_may_be_zero(tmp_path: Path, pixels: np.ndarray) -> None:
    """Whatever the depth, a file whose white is 0 shows what its twin with black at 0 shows."""
    twin = write_tiff(tmp_path / "a.tif", np.iinfo(pixels.dtype).max - pixels)
    white = write_tiff(tmp_path / "b.tif", pixels, photometric=0)
    np.testing.assert_array_equal(grey(white), grey(twin))
    assert grey(white)[0, 0] == 255


def test_white_may_be_zero_in_one_bit(tmp_path: Path) -> None:
    bits = np.packbits(GREY > 100, axis=1)
    shape = np.zeros((8, 8), np.uint8)
    one = {258: 1}
    black = write_tiff(tmp_path / "a.tif", shape, 1, one, bits.tobytes())
    white = write_tiff(tmp_path / "b.tif", shape, 0, one, bits.tobytes())
    np.testing.assert_array_equal(grey(black), (GREY > 100) * np.uint8(255))
    np.testing.assert_array_equal(grey(white), (GREY <= 100) * np.uint8(255))


def test_twelve_bits_reach_from_black_to_white(tmp_path: Path) -> None:
    values = (np.arange(64, dtype=np.uint16) * 65).reshape(8, 8)
    pairs = values.reshape(-1, 2).astype(int)
    packed = np.stack(
        [pairs[:, 0] >> 4, ((pairs[:, 0] & 15) << 4) | (pairs[:, 1] >> 8), pairs[:, 1] & 255], 1
    )
    path = write_tiff(tmp_path / "a.tif", values, 1, {258: 12}, packed.astype(np.uint8).tobytes())
    np.testing.assert_array_equal(grey(path), to_8_bits(values, 4095))


@pytest.mark.parametrize("pixels", [GREY, DEEP])
def test_bits_may_be_filled_from_the_other_end(tmp_path: Path, pixels: np.ndarray) -> None:
    table = np.array([int(f"{value:08b}"[::-1], 2) for value in range(256)], np.uint8)
    data = table[np.frombuffer(pixels.tobytes(), np.uint8)].tobytes()
    path = write_tiff(tmp_path / "a.tif", pixels, 1, {266: 2}, data)
    twin = write_tiff(tmp_path / "b.tif", pixels)
    np.testing.assert_array_equal(grey(path), grey(twin))


@pytest.mark.parametrize("channels", [2, 4])
def test_premultiplied_colours_are_on_black_as_they_stand(tmp_path: Path, channels: int) -> None:
    alpha = np.full((8, 8), 128, np.uint8)
    shown = [GREY // 2] if channels == 2 else [GREY // 2, GREY // 3, GREY // 4]
    pixels = np.stack([*shown, alpha], -1)
    photometric = 1 if channels == 2 else 2
    path = write_tiff(tmp_path / "a.tif", pixels, photometric, {338: 1})
    assert read_header(path).has_alpha
    assert np.abs(rgb(path).astype(int) - np.stack(shown * (4 - len(shown)))[:3]).max() <= 2


REFUSED_TIFFS = {
    "holds signed integers of 16 bits": (DEEP.astype(np.int16), 1, {339: 2}),
    "holds signed integers of 8 bits": (GREY, 1, {339: 2}),
    "holds floating-point numbers of 32 bits": (GREY.astype(np.float32), 1, {339: 3}),
    "colour filter array": (GREY, 32803, {}),
    "sensor's linear values": (COLOURS, 34892, {}),
    "ICC L\\*a\\*b\\*": (COLOURS, 9, {}),
    "logarithms of luminance": (DEEP, 32844, {}),
    "inks other than cyan": (np.stack([GREY] * 4, -1), 5, {332: 2}),
    "begins with a preview": (COLOURS, 2, {254: 1}),
    "3 samples a pixel of 32, 32, 32 bits": (COLOURS.astype(np.uint32), 2, {}),
    r"TIFF compression 34892\)": (GREY, 1, {259: 34892}),
}


@pytest.mark.parametrize("said", REFUSED_TIFFS)
def test_what_a_tiff_means_is_refused_by_name(tmp_path: Path, said: str) -> None:
    pixels, photometric, tags = REFUSED_TIFFS[said]
    path = write_tiff(tmp_path / "a.tif", pixels, photometric, tags)
    with pytest.raises(ValueError, match=rf"a\.tif .*{said}") as error:
        read_header(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_one_grey_value_may_be_transparent(tmp_path: Path, depth: int) -> None:
    """At every depth: the value is told as stored."""
    most = min(2**depth, 64)
    values = np.arange(64).reshape(8, 8) % most
    chunk = (b"tRNS", struct.pack(">H", most - 1))
    path = write_png(tmp_path / "a.png", values, [chunk], depth)
    alpha = np.asarray(read_cut_out(path))[..., 3]
    np.testing.assert_array_equal(alpha == 0, values == most - 1)
    shown = grey(path)
    assert (shown[values == most - 1] == 0).all()
    twin = grey(write_png(tmp_path / "b.png", values, (), depth))
    np.testing.assert_array_equal(shown[values < most - 1], twin[values < most - 1])


def test_one_colour_may_be_transparent(tmp_path: Path) -> None:
    chunk = (b"tRNS", struct.pack(">HHH", *map(int, COLOURS[3, 3])))
    alpha = np.asarray(read_cut_out(write_png(tmp_path / "a.png", COLOURS, [chunk])))[..., 3]
    np.testing.assert_array_equal(alpha == 0, (COLOURS[3, 3] == COLOURS).all(-1))
    deep = write_png(tmp_path / "b.png", COLOURS.astype(np.uint16) * 257, [chunk], 16)
    with pytest.raises(ValueError, match=r"b\.png makes one colour of 16 bits transparent"):
        read_header(deep)


def test_linear_light_is_shown_as_srgb(tmp_path: Path) -> None:
    wanted = np.rint(255 * (GREY / 255) ** (1 / 2.2))
    path = write_png(tmp_path / "a.png", GREY, [(b"gAMA", LINEAR)])
    np.testing.assert_array_equal(grey(path), wanted)
    deep = write_png(tmp_path / "b.png", GREY.astype(np.uint16) * 257, [(b"gAMA", LINEAR)], 16)
    np.testing.assert_allclose(grey(deep), wanted, atol=1)
    colours = write_png(tmp_path / "c.png", COLOURS, [(b"gAMA", LINEAR)])
    np.testing.assert_array_equal(rgb(colours), np.rint(255 * (RGB / 255) ** (1 / 2.2)))


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"gAMA", struct.pack(">I", 45455))],
        [(b"sRGB", b"\0"), (b"gAMA", LINEAR)],
        [(b"sBIT", b"\x05\x06\x05")],
        [(b"cICP", bytes([1, 13, 0, 1])), (b"gAMA", LINEAR)],
        [(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))],
    ],
)
def test_what_means_srgb_changes_no_bit(tmp_path: Path, chunks: list[tuple[bytes, bytes]]) -> None:
    np.testing.assert_array_equal(rgb(write_png(tmp_path / "a.png", COLOURS, chunks)), RGB)


@pytest.mark.parametrize(
    ("chunk", "said"),
    [
        ((b"cICP", bytes([9, 16, 0, 1])), r"cICP 9, 16"),
        ((b"cHRM", struct.pack(">8I", 31270, 32900, *[70000, 29000, 17000, 79700, 13100, 4600])),
         "other primaries than sRGB"),
    ],
)  # fmt: skip
def test_colours_far_from_srgb_are_refused(
    tmp_path: Path, chunk: tuple[bytes, bytes], said: str
) -> None:
    path = write_png(tmp_path / "a.png", COLOURS, [chunk])
    with pytest.raises(ValueError, match=rf"a\.png .*{said}"):
        read_header(path)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.webp"])
def test_a_profile_far_from_srgb_is_obeyed(tmp_path: Path, name: str) -> None:
    """In the profile red and green have changed places: so they do on the screen."""
    image = Image.new("RGB", (8, 8), (255, 0, 0))
    image.save(tmp_path / name, icc_profile=swapped_profile(), lossless=True)
    red, green, blue = rgb(tmp_path / name)[:, 4, 4]
    assert green > 240
    assert max(red, blue) < 30


def test_a_palette_with_a_profile_is_obeyed(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8), (255, 0, 0)).quantize(4)
    image.save(tmp_path / "a.png", icc_profile=swapped_profile())
    assert rgb(tmp_path / "a.png")[:, 4, 4].argmax() == 1


def test_a_bmp_with_a_profile_is_obeyed(tmp_path: Path) -> None:
    profile = swapped_profile()
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[..., 2] = 255  # blue, green, red
    header = struct.pack("<IiiHHIIiiII", 124, 8, 8, 1, 24, 0, pixels.nbytes, 0, 0, 0, 0)
    header += bytes(16) + b"DEBM" + bytes(36 + 12)
    header += struct.pack("<IIII", 0, 124 + pixels.nbytes, len(profile), 0)
    assert len(header) == 124
    offset = 14 + len(header)
    start = b"BM" + struct.pack("<IHHI", offset + pixels.nbytes + len(profile), 0, 0, offset)
    (tmp_path / "a.bmp").write_bytes(start + header + pixels.tobytes() + profile)
    assert rgb(tmp_path / "a.bmp")[:, 4, 4].argmax() == 1
    linked = bytearray((tmp_path / "a.bmp").read_bytes())
    linked[70:74] = b"KNIL"
    (tmp_path / "b.bmp").write_bytes(linked)
    with pytest.raises(ValueError, match=r"b\.bmp has a colour profile in another file"):
        read_header(tmp_path / "b.bmp")


@pytest.mark.parametrize("profile", ["sRGB", "unreadable", "of another kind"])
def test_a_profile_that_means_srgb_or_nothing_changes_no_bit(tmp_path: Path, profile: str) -> None:
    content = {
        "sRGB": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        "unreadable": b"no profile at all",
        "of another kind": ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
    }[profile]
    Image.fromarray(COLOURS).save(tmp_path / "a.png", icc_profile=content)
    np.testing.assert_array_equal(rgb(tmp_path / "a.png"), RGB)


def test_inks_of_a_jpeg_must_say_whether_they_are_inverted(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(path)
    assert rgb(path)[:, 4, 4].tolist() == pytest.approx([255, 0, 0], abs=12)
    data = path.read_bytes()
    start = data.index(b"\xff\xee")
    length = struct.unpack(">H", data[start + 2 : start + 4])[0]
    path.write_bytes(data[:start] + data[start + 2 + length :])
    with pytest.raises(ValueError, match=r"a\.jpg holds inks without saying"):
        read_header(path)
