"""The pixels of an opened picture as they are meant to be shown, in 8 bits.

Obeyed are what decoders of Pillow obey (white as zero, order of bits, palettes, inverted
inks, premultiplied alpha), and here: the orientation of EXIF, 12 and 16 bits of grey from
black or from white, the transparent value of a PNG, profiles and gammas far from sRGB. Not
looked at are what describes the camera or the print (sBIT, MaxSampleValue, density and
resolution, EXIF's name of a colour space).
"""

import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from data_prep.reading.colour_profiles import is_curved, is_far, to_srgb
from data_prep.reading.decoding import decode
from data_prep.reading.png_chunks import check_chunks, read_chunks, transparent_grey
from data_prep.reading.tiff_tags import BITS, PHOTOMETRIC, WHITE_IS_ZERO

ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
BMP_PROFILE_HEADER, BMP_EMBEDDED, BMP_LINKED = 124, b"DEBM", b"KNIL"


class Meaning(NamedTuple):
    """What metadata say of stored values.

    Grey of more than 8 bits reaches from 0 to `deepest`, `is_inverted` from white to black.
    `transparent` is the one value of grey that is not seen, as decoded.
    """

    deepest: int = 65535
    is_inverted: bool = False
    transparent: int | None = None
    exponent: float = 1.0
    profile: bytes | None = None


def has_alpha(image: Image.Image) -> bool:
    """Whether some places of a picture may be transparent."""
    return image.mode in ALPHA_MODES or "transparency" in image.info


def read_meaning(image: Image.Image, path: Path) -> Meaning:
    """From the header alone; ValueError, without naming the file, for what is not obeyed."""
    profile = image.info.get("icc_profile")
    if image.format == "TIFF":
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        bits = max(tags.get(BITS, (1,)))
        is_inverted = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
        return Meaning(2**bits - 1 if bits > 8 else 65535, is_inverted, profile=profile)
    if image.format == "PNG":
        chunks = read_chunks(path)
        return Meaning(
            transparent=transparent_grey(chunks), exponent=check_chunks(chunks), profile=profile
        )
    if image.format == "BMP":
        return Meaning(profile=_bmp_profile(path))
    given = image.info.get("transparency") if image.mode == "L" else None
    return Meaning(transparent=given if isinstance(given, int) else None, profile=profile)


def as_shown(image: Image.Image, meaning: Meaning) -> Image.Image:
    """Upright pixels of 8 bits: with transparency LA or RGBA, else of any mode of 8 bits.

    May raise whatever Pillow's decoders raise.
    """
    decode(image)
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        return _coloured(_deep_grey(upright, meaning), meaning.profile, 1.0)
    if upright.mode in ("1", "L") and meaning.transparent is not None:
        grey = Image.fromarray(np.array(upright.convert("L")))
        picture = _with_transparent(grey, np.array(grey), meaning.transparent)
    elif upright.mode == "La":
        picture = upright.convert("LA")
    else:
        picture = upright.convert("RGBA") if has_alpha(upright) else upright
    return _coloured(picture, meaning.profile, meaning.exponent)


def _deep_grey(image: Image.Image, meaning: Meaning) -> Image.Image:
    """Grey of 12 or 16 bits as L or LA, its curve applied."""
    stored = np.array(image).astype(np.uint32)
    levels = meaning.deepest - stored if meaning.is_inverted else stored
    if is_curved(meaning.exponent):
        shares = (levels / meaning.deepest) ** meaning.exponent
        levels = np.rint(shares * meaning.deepest).astype(np.uint32)
    values = (255 * levels + meaning.deepest // 2) // meaning.deepest
    grey = Image.fromarray(values.astype(np.uint8))
    transparent = meaning.transparent
    return grey if transparent is None else _with_transparent(grey, stored, transparent)


def _with_transparent(grey: Image.Image, stored: np.ndarray, transparent: int) -> Image.Image:
    """LA whose transparent places are those of one value."""
    is_seen = stored != transparent
    grey.putalpha(Image.fromarray(is_seen.astype(np.uint8) * np.uint8(255)))
    return grey


def _coloured(image: Image.Image, profile: bytes | None, exponent: float) -> Image.Image:
    """The picture in sRGB; unchanged where it is already, or near."""
    base = {"1": "L", "L": "L", "LA": "L", "CMYK": "CMYK"}.get(image.mode, "RGB")
    if image.mode == "LAB" or not (is_curved(exponent) or is_far(profile, base)):
        return image
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    picture = to_srgb(image.convert(base), profile, exponent)
    if alpha is not None:
        picture.putalpha(alpha)
    return picture


def _bmp_profile(path: Path) -> bytes | None:
    with open(path, "rb") as file:
        header = file.read(14 + BMP_PROFILE_HEADER)
        if len(header) < 18 or struct.unpack_from("<I", header, 14)[0] != BMP_PROFILE_HEADER:
            return None
        space = header[70:74]
        if space == BMP_LINKED:
            raise ValueError("has a colour profile in another file: save it as sRGB")
        if space != BMP_EMBEDDED:
            return None
        offset, size = struct.unpack_from("<II", header, 14 + 112)
        file.seek(14 + offset)
        return file.read(size)
