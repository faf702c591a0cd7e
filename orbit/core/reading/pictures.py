"""Pictures of a user: checked by their headers, decoded to 8 bits, cut or padded to a square."""

import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from orbit.core.reading.files import describe_content
from orbit.core.reading.picture_values import (
    Meaning,
    as_shown,
    check_tags,
    has_alpha,
    may_be_turned,
    read_meaning,
    why_undecoded,
)

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif")
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF")
KNOWN = "PNG, JPEG, TIFF, WebP, BMP or GIF"
TIFF = "is a TIFF picture"
DECODED = tuple(f"is a {name} picture" for name in ("PNG", "JPEG", "TIFF", "WebP", "GIF"))
"""What `describe_content` returns for pictures that can be read."""
GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N")
COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV")
KINDS_OF_MODES = {"F": "floating-point numbers", "I": "integers of 32 bits"}
BUFFER_BYTES = 2**16
DAMAGES = (
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""Errors that decoders raise for damaged files."""


class Limit(NamedTuple):
    """The largest picture that is decoded, and the key that changes this limit."""

    max_megapixels: int = 90
    key: str = "source.max_megapixels"


@contextmanager
def open_picture(path: Path, limit: Limit) -> Iterator[Image.Image]:
    """Context with a picture whose header is read and whose pixels are not.

    Errors inside the block, for example in decoding, are reported as faults of the file. Raises
    ValueError naming the file and the cause, FileNotFoundError if there is none, OSError naming the
    file if it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
            # Given a name, Pillow may map the file, which scrambles TIFF files that have to be
            # turned.
            with open(path, "rb", buffering=0) as plain, Watched(plain) as raw:
                try:
                    with io.BufferedReader(raw, BUFFER_BYTES) as file, _identify(file) as image:
                        _check(image, limit)
                        yield image
                finally:
                    if raw.fault is not None:
                        raise raw.fault
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing") from None
    except OSError as error:
        if error.errno:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise ValueError(f"{path} {_cause(path, error)}") from None
    except Refused as error:
        raise ValueError(f"{path} {error}") from None
    except DAMAGES as error:
        raise ValueError(f"{path} {_cause(path, error)}") from None


class Watched(io.RawIOBase):
    """A file that remembers its last error, because Pillow silently skips tags that it could not
    read."""

    fault: OSError | None = None

    def __init__(self, plain: Any) -> None:
        self._plain = plain

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._plain.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        try:
            return int(self._plain.readinto(buffer))
        except OSError as error:
            self.fault = error
            raise


class Refused(Exception):
    """An error whose text is a clause that says why a picture is refused."""


def _identify(file: Any) -> Image.Image:
    allowed = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None  # the limit is the user's
    try:
        return Image.open(file, formats=FORMATS)
    finally:
        Image.MAX_IMAGE_PIXELS = allowed


def _check(image: Image.Image, limit: Limit) -> None:
    width, height = image.size
    if width * height > limit.max_megapixels * 1_000_000:
        raise Refused(
            f"has {width}x{height} pixels, more than {limit.key}={limit.max_megapixels} million"
            f" allows: set {limit.key}={-(-width * height // 1_000_000)}"
        )
    if image.format == "TIFF":
        try:
            check_tags(image.tag_v2)  # type: ignore[attr-defined]
        except ValueError as error:
            raise Refused(str(error)) from None
    if image.mode not in GREY_MODES + COLOUR_MODES:
        kind = KINDS_OF_MODES.get(image.mode, f"pixels of mode {image.mode}")
        raise Refused(f"holds {kind}: save it with 8 or 16 bits")
    num_frames = getattr(image, "n_frames", 1)
    # The further pictures of a photograph in MPO are previews, depths or gains.
    if num_frames > 1 and image.format != "MPO":
        what = "pages" if image.format == "TIFF" else "frames"
        raise Refused(f"holds {num_frames} {what}, not one picture")
    if image.mode == "CMYK" and image.format in ("JPEG", "MPO") and "adobe" not in image.info:
        raise Refused("holds inks without saying whether they are inverted: save it as RGB")


def _cause(path: Path, error: BaseException) -> str:
    """A clause that says what is wrong with a file that no decoder accepted."""
    line = " ".join(str(error).split()) or type(error).__name__
    is_unidentified = isinstance(error, UnidentifiedImageError)
    content = describe_content(path)
    if content == TIFF and isinstance(error, (UnidentifiedImageError, KeyError)):
        return why_undecoded(path) or f"{content} whose header is damaged"
    if not is_unidentified:
        return f"cannot be decoded: {line}"
    if content is None:
        return f"is not a picture of {KNOWN}"
    if content in DECODED:
        return f"{content} whose header is damaged"
    is_told = any(mark in content for mark in ",:(")
    return content if is_told else f"{content}; read are {KNOWN}"


__all__ = [
    "SUFFIXES",
    "Header",
    "Limit",
    "fit_square",
    "read_cut_out",
    "read_header",
    "read_picture",
]

EXIF_ORIENTATION, QUARTER_TURNED = 0x0112, (5, 6, 7, 8)
TIFF_WIDTH, TIFF_HEIGHT = 0x0100, 0x0101
DEFAULT_LIMIT = Limit()


class Header(NamedTuple):
    """Width and height in pixels as shown, and whether there is colour or transparency.

    A palette counts as colour, and so does every WebP.
    """

    width: int
    height: int
    is_grey: bool
    has_alpha: bool


def read_header(path: Path, limit: Limit = DEFAULT_LIMIT) -> Header:
    """What a file says about itself, without decoding it.

    Raises ValueError naming a file that is not a picture of the known formats, has values that are
    not 8 to 16 unsigned bits, several frames or pages, more pixels than the limit, or metadata that
    Orbit does not apply.
    """
    with open_picture(path, limit) as image:
        _meaning(image, path)
        width, height = image.size
        # Asked for EXIF, Pillow decodes a PNG to its end.
        if image.format == "PNG" and not may_be_turned(path):
            return Header(width, height, image.mode in GREY_MODES, has_alpha(image))
        exif = image.getexif()
        if image.format == "TIFF":  # Pillow gives it as shown, or stored
            width, height = exif[TIFF_WIDTH], exif[TIFF_HEIGHT]
        if exif.get(EXIF_ORIENTATION) in QUARTER_TURNED:
            width, height = height, width
        return Header(width, height, image.mode in GREY_MODES, has_alpha(image))


def read_picture(
    path: Path,
    is_grey: bool,
    size: int | None,
    is_padded: bool = False,
    limit: Limit = DEFAULT_LIMIT,
) -> np.ndarray:
    """A picture (1 or 3, H, W) uint8, as its metadata say it is shown.

    With `size` the largest square about its centre, resized with antialiasing;
    `is_padded` keeps all of it, with black above and below or at the sides. Deep grey
    values are scaled by their full range; transparent places are black. Raises
    ValueError as `read_header` does, and for a file that is cut off or corrupt.
    """
    with open_picture(path, limit) as image:
        picture = _flatten(as_shown(image, _meaning(image, path)), "L" if is_grey else "RGB")
        if size is not None:
            picture = fit_square(picture, size, is_padded)
        pixels = np.asarray(picture)
    return pixels[None] if is_grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def read_cut_out(path: Path, limit: Limit = DEFAULT_LIMIT) -> Image.Image:
    """A picture in mode RGBA, at its own size; ValueError as `read_picture`."""
    with open_picture(path, limit) as image:
        return as_shown(image, _meaning(image, path)).convert("RGBA")


def fit_square(image: Image.Image, size: int, is_padded: bool) -> Image.Image:
    """The largest square about the centre, or all of a picture padded with black, resized."""
    return (_padded_square if is_padded else _centre_square)(image, size)


def _meaning(image: Image.Image, path: Path) -> Meaning:
    try:
        return read_meaning(image, path)
    except ValueError as error:
        raise Refused(str(error)) from None


def _flatten(image: Image.Image, mode: str) -> Image.Image:
    if not has_alpha(image):
        return image if image.mode == mode else image.convert(mode)
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, image.convert("RGBA")).convert(mode)


def _centre_square(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    side = min(image.size)
    left, top = ((extent - side) / 2 for extent in image.size)
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BICUBIC, box)


def _padded_square(image: Image.Image, size: int) -> Image.Image:
    side = max(image.size)
    square = Image.new(image.mode, (side, side))
    left, top = ((side - extent) // 2 for extent in image.size)
    square.paste(image, (left, top))
    return square.resize((size, size), Image.Resampling.BICUBIC)
