"""Pictures of a user: checked by their headers, decoded to 8 bits, cut or padded to a square."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_prep.reading.picture_file import GREY_MODES, SUFFIXES, Limit, Refused, open_picture
from data_prep.reading.png_chunks import may_be_turned
from data_prep.reading.shown_values import Meaning, as_shown, has_alpha, read_meaning

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

    Raises ValueError naming a file that is no picture of the known formats, has values that
    are not 8 to 16 unsigned bits, several frames or pages, more pixels than the limit, or
    metadata that are not obeyed.
    """
    with open_picture(path, limit) as image:
        _meaning(image, path)
        width, height = image.size
        # Asked for EXIF, Pillow decodes a PNG to its end.
        if image.format == "PNG" and not may_be_turned(path):
            return Header(width, height, image.mode in GREY_MODES, has_alpha(image))
        exif = image.getexif()
        if image.format == "TIFF":  # some versions of Pillow give the size as shown, others not
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
