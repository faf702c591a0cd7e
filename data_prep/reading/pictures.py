"""PNG, JPEG and TIFF files of a user: checked by their headers, decoded to 8 bits."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "TIFF")
GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N")
COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV")
EXIF_ORIENTATION, QUARTER_TURNED = 0x0112, (5, 6, 7, 8)
TIFF_WIDTH, TIFF_HEIGHT = 0x0100, 0x0101


class Header(NamedTuple):
    """Width and height in pixels as shown, and whether there is colour or transparency.

    A palette counts as colour.
    """

    width: int
    height: int
    is_grey: bool
    has_alpha: bool


def read_header(path: Path) -> Header:
    """What a file says about itself, without decoding it.

    Raises ValueError naming a file that is no PNG, JPEG or TIFF picture, has pixels that are
    not 8- or 16-bit, several pages, or more pixels than Pillow deems safe.
    """
    with _open(path) as image:
        width, height = image.size
        exif = image.getexif()
        if image.format == "TIFF":  # some versions of Pillow give the size as shown, others not
            width, height = exif[TIFF_WIDTH], exif[TIFF_HEIGHT]
        if exif.get(EXIF_ORIENTATION) in QUARTER_TURNED:
            width, height = height, width
        return Header(width, height, image.mode in GREY_MODES, _has_alpha(image))


def read_picture(
    path: Path, is_grey: bool, size: int | None, is_padded: bool = False
) -> np.ndarray:
    """A picture (1 or 3, H, W) uint8, as its EXIF data say it is held.

    With `size` the largest square about its centre, resized with antialiasing;
    `is_padded` keeps all of it, with black above and below or at the sides. 16-bit
    values are scaled by their full range; transparent places are black. Raises
    ValueError as `read_header` does, and for a file that is cut off or corrupt.
    """
    with _open(path) as image:
        picture = _flatten(_upright(image), "L" if is_grey else "RGB")
        if size is not None:
            fit = _padded_square if is_padded else _centre_square
            picture = fit(picture, size)
        pixels = np.array(picture)
    return pixels[None] if is_grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def read_cut_out(path: Path) -> Image.Image:
    """A picture in mode RGBA, at its own size; ValueError as `read_picture`."""
    with _open(path) as image:
        return _upright(image).convert("RGBA")


@contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
            # Given a name, Pillow may map the file, which scrambles TIFF files to be turned.
            with open(path, "rb") as file, Image.open(file, formats=FORMATS) as image:
                if image.mode not in GREY_MODES + COLOUR_MODES:
                    raise ValueError(
                        f"{path} has pixels of mode {image.mode}: save it with 8 or 16 bits"
                    )
                num_pages = getattr(image, "n_frames", 1)
                if image.format == "TIFF" and num_pages > 1:
                    raise ValueError(f"{path} holds {num_pages} pages, not one picture")
                yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ValueError(f"{path} has more pixels than are safe to decode") from None
    except UnidentifiedImageError:
        raise ValueError(f"{path} is not a PNG, JPEG or TIFF picture") from None
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing") from None
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} cannot be decoded: {_line(error)}") from None
    except (OSError, SyntaxError, EOFError, IndexError, TypeError, KeyError) as error:
        raise ValueError(f"{path} cannot be decoded: {_line(error)}") from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _has_alpha(image: Image.Image) -> bool:
    return "A" in image.mode.removesuffix("B") or "transparency" in image.info


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        values = np.array(upright).astype(np.uint32)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    return upright


def _flatten(image: Image.Image, mode: str) -> Image.Image:
    if not _has_alpha(image):
        return image.convert(mode)
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, image.convert("RGBA")).convert(mode)


def _centre_square(image: Image.Image, size: int) -> Image.Image:
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
