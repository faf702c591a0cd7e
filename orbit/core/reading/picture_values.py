"""The pixels of an opened picture as they are meant to be shown, in 8 bits.

Metadata about values are obeyed or refused: colour profiles, PNG chunks, TIFF tags. Values within
`TOLERANCE` of sRGB are not changed, so pictures with one of the many profiles of sRGB keep every
bit. A profile that cannot be read, or is for another kind of picture, is ignored.

Pillow's decoders obey white as zero, order of bits, palettes, inverted inks and premultiplied
alpha. This module obeys the orientation of EXIF, 12 and 16 bits of grey from black or from white,
the transparent value of a PNG, and profiles and gammas far from sRGB. It ignores what describes the
camera or the print (sBIT, MaxSampleValue, density and resolution, EXIF's name of a colour space).
"""

import io
import struct
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

from orbit.core.reading.decoding import decode

KEPT = (b"IHDR", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"iCCP", b"tRNS")
MAX_LENGTH = 1024
TEXTS, MAX_KEYWORD = (b"tEXt", b"zTXt", b"iTXt"), 80
KEYWORDS = (b"Raw profile type", b"XML:com.adobe.xmp")
"""Beginnings of the keywords under which programs store EXIF and XMP."""
GREY_TYPE, RGB_TYPE, DEEP = 0, 2, 16
SRGB_GAMMA = 1 / 2.2
SRGB_CORNERS = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
"""Chromaticities x and y of white, red, green and blue."""
CORNER_TOLERANCE = 0.02
BT709_PRIMARIES, LIKE_SRGB = 1, (1, 6, 13, 14, 15)


def read_chunks(path: Path) -> dict[bytes, bytes]:
    """The chunks before the pixels that give the meaning of values; of long ones only the name."""
    chunks: dict[bytes, bytes] = {}
    with open(path, "rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name in (b"IDAT", b"IEND"):
                break
            if name in KEPT:
                chunks[name] = file.read(length) if length <= MAX_LENGTH else b""
                file.seek(length * (length > MAX_LENGTH) + 4, 1)
            else:
                file.seek(length + 4, 1)
    return chunks


def may_be_turned(path: Path) -> bool:
    """Whether a chunk before or after the pixels could hold an orientation."""
    with open(path, "rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name == b"IEND":
                return False
            if name in TEXTS:
                start = file.read(min(length, MAX_KEYWORD))
                if start.startswith(KEYWORDS):
                    return True
                file.seek(length - len(start) + 4, 1)
            elif name == b"eXIf":
                return True
            else:
                file.seek(length + 4, 1)
    return False


def transparent_grey(chunks: dict[bytes, bytes]) -> int | None:
    """The one value of grey that is transparent, at 8 bits where it was stored with fewer."""
    depth, colour = chunks[b"IHDR"][8:10]
    code = chunks.get(b"tRNS", b"")
    if colour != GREY_TYPE or len(code) != 2:
        return None
    value = int.from_bytes(code, "big")
    return value if depth == DEEP else value * 255 // (2**depth - 1)


def check_chunks(chunks: dict[bytes, bytes]) -> float:
    """The exponent that maps stored values on [0, 1] to sRGB; 1 for most files.

    The more specific chunk has priority: cICP, iCCP (handled elsewhere), sRGB, gAMA with cHRM.
    Raises ValueError, without naming the file, for chunks that are not supported.
    """
    if b"tRNS" in chunks and tuple(chunks[b"IHDR"][8:10]) == (DEEP, RGB_TYPE):
        raise ValueError("makes one colour of 16 bits transparent: save it with an alpha channel")
    if b"iCCP" in chunks:
        return 1.0
    if len(code := chunks.get(b"cICP", b"")) == 4:
        primaries, transfer, matrix, is_full = code
        if (primaries, matrix, is_full) != (BT709_PRIMARIES, 0, 1) or transfer not in LIKE_SRGB:
            raise ValueError(
                f"has colours far from sRGB (cICP {primaries}, {transfer}): save it as sRGB"
            )
        return 1.0
    if b"sRGB" in chunks:
        return 1.0
    if len(corners := chunks.get(b"cHRM", b"")) == 32:
        given = np.array(struct.unpack(">8I", corners)) / 100000
        if np.abs(given - SRGB_CORNERS).max() > CORNER_TOLERANCE:
            raise ValueError("has colours of other primaries than sRGB (cHRM): save it as sRGB")
    if len(gamma := chunks.get(b"gAMA", b"")) == 4 and any(gamma):
        return SRGB_GAMMA / (int.from_bytes(gamma, "big") / 100000)
    return 1.0


SUBFILE_TYPE, BITS, COMPRESSION, PHOTOMETRIC = 254, 258, 259, 262
NUM_SAMPLES, INK_SET, SAMPLE_FORMAT = 277, 332, 339
WHITE_IS_ZERO, SEPARATED, CMYK_INKS = 0, 5, 1
REDUCED_COPY, MASK = 1, 4
UNSIGNED = (1, 4)
"""Sample formats: unsigned, and undefined, which readers treat as unsigned."""
FORMATS = {
    2: "signed integers",
    3: "floating-point numbers",
    5: "complex numbers",
    6: "complex numbers",
}
OBEYED = (0, 1, 2, 3, 5, 6, 8)
"""Supported photometric interpretations: grey from white or from black, RGB, palette, inks, YCbCr,
L*a*b*."""
INTERPRETATIONS = {
    4: "a transparency mask",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "a sensor's colour filter array (a raw photograph)",
    34892: "a sensor's linear values (a raw photograph)",
    32844: "logarithms of luminance",
    32845: "logarithms of luminance and colour",
    51177: "depths",
    52527: "a semantic mask",
}


def check_tags(tags: Mapping[int, Any]) -> None:
    """Raise ValueError, without naming the file, for values of a kind that is not decoded."""
    formats = _as_tuple(tags.get(SAMPLE_FORMAT, 1))
    for number in formats:
        if number not in UNSIGNED:
            kind = FORMATS.get(number, f"values of sample format {number}")
            bits = max(_as_tuple(tags.get(BITS, 1)))
            raise ValueError(f"holds {kind} of {bits} bits: save it with 8 or 16 unsigned bits")
    photometric = tags.get(PHOTOMETRIC, 1)
    if photometric not in OBEYED:
        kind = INTERPRETATIONS.get(photometric, f"of photometric interpretation {photometric}")
        raise ValueError(f"holds values that are {kind}: save it as grey or RGB")
    if photometric == SEPARATED and tags.get(INK_SET, CMYK_INKS) != CMYK_INKS:
        raise ValueError("holds inks other than cyan, magenta, yellow and black: save it as RGB")
    subfile = tags.get(SUBFILE_TYPE, 0)
    if subfile & REDUCED_COPY:
        raise ValueError("begins with a preview of its picture, as raw photographs do")
    if subfile & MASK:
        raise ValueError("begins with a mask of its picture")


def why_undecoded(path: Path) -> str | None:
    """A clause that says why a TIFF cannot be decoded; None if its tags do not show it."""
    try:
        # Pillow warns of what it cannot read; this is checked here.
        with warnings.catch_warnings(action="ignore"), open(path, "rb") as file:
            header = file.read(8)
            if header[2:3] == b"+" or header[3:4] == b"+":  # BigTIFF
                header += file.read(8)
            tags = TiffImagePlugin.ImageFileDirectory_v2(header)
            file.seek(tags.next)
            tags.load(file)
            found = {
                tag: tags[tag]
                for tag in (BITS, PHOTOMETRIC, NUM_SAMPLES, COMPRESSION, SAMPLE_FORMAT)
                if tag in tags
            }
    except Exception:  # an unreadable directory gives no cause
        return None
    if PHOTOMETRIC not in found:  # Cut off: every TIFF has these tags.
        return None
    try:
        check_tags(found)
    except ValueError as error:
        return str(error)
    compression = found.get(COMPRESSION, 1)
    if compression not in TiffImagePlugin.COMPRESSION_INFO:
        return f"is compressed in a way that cannot be decoded (TIFF compression {compression})"
    bits = ", ".join(map(str, _as_tuple(found.get(BITS, 1))))
    name = TiffImagePlugin.COMPRESSION_INFO[compression]
    return (
        f"is a TIFF that cannot be decoded: {found.get(NUM_SAMPLES, 1)} samples a pixel of {bits}"
        f" bits, photometric interpretation {found.get(PHOTOMETRIC)}, compression {name}"
    )


def _as_tuple(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple) else (value,)


TOLERANCE = 12
"""Largest difference, of 255, that counts as sRGB; a plain gamma of 2.2 differs by 8."""
SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
NUM_LEVELS = 6


def to_srgb(image: Image.Image, profile: bytes | None, exponent: float) -> Image.Image:
    """A picture of mode L, RGB or CMYK, converted to sRGB if its colours are far from sRGB."""
    transform = _transform(profile, image.mode) if profile else None
    if transform is not None:
        moved: Image.Image = transform.apply(image)
        return moved.convert("L") if image.mode == "L" else moved
    if is_curved(exponent) and image.mode != "CMYK":
        curve = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(int).tolist()
        return image.point(curve * len(image.getbands()))
    return image


def is_far(profile: bytes | None, mode: str) -> bool:
    """Whether a profile moves colours of a picture of this mode."""
    return bool(profile) and _transform(profile or b"", mode) is not None


def is_curved(exponent: float) -> bool:
    """Whether an exponent on [0, 1] moves values by more than the tolerance."""
    values = np.linspace(0, 1, 256)
    return bool(np.abs(values**exponent - values).max() * 255 > TOLERANCE)


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> Any:
    """The transform from pixels of a mode to sRGB; None if none is needed."""
    from PIL import ImageCms

    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if given.profile.xcolor_space.strip() != SPACES.get(mode):
            return None
        transform = ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), mode, "RGB")
    except ImportError:
        raise ValueError("has a colour profile: a Pillow with LittleCMS is needed") from None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    probe = _probe(mode)
    moved = np.asarray(transform.apply(probe), int)
    apart = np.abs(moved - np.asarray(probe.convert("RGB"), int)).max()
    return transform if apart > TOLERANCE else None


def _probe(mode: str) -> Image.Image:
    """A picture of evenly spread colours."""
    num = {"L": 1, "RGB": 3, "CMYK": 4}[mode]
    levels = np.linspace(0, 255, 64 if num == 1 else NUM_LEVELS).astype(np.uint8)
    colours = np.stack(np.meshgrid(*[levels] * num), -1).reshape(1, -1, num)
    return Image.frombytes(mode, (colours.shape[1], 1), colours.tobytes())


ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
BMP_PROFILE_HEADER, BMP_EMBEDDED, BMP_LINKED = 124, b"DEBM", b"KNIL"


class Meaning(NamedTuple):
    """The meaning of stored values according to metadata.

    Grey of more than 8 bits has the range 0 to `deepest`, from white to black if `is_inverted`.
    `transparent` is the value of grey that is transparent, as decoded.
    """

    deepest: int = 65535
    is_inverted: bool = False
    transparent: int | None = None
    exponent: float = 1.0
    profile: bytes | None = None


def has_alpha(image: Image.Image) -> bool:
    """Whether parts of a picture may be transparent."""
    return image.mode in ALPHA_MODES or "transparency" in image.info


def read_meaning(image: Image.Image, path: Path) -> Meaning:
    """The meaning of values, from the header alone; ValueError, without naming the file, for
    metadata that are not supported."""
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
    """Upright pixels of 8 bits, LA or RGBA with transparency, otherwise of any mode of 8 bits.

    May raise any error of Pillow's decoders.
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
    """LA in which the pixels of one value are transparent."""
    is_seen = stored != transparent
    grey.putalpha(Image.fromarray(is_seen.astype(np.uint8) * np.uint8(255)))
    return grey


def _coloured(image: Image.Image, profile: bytes | None, exponent: float) -> Image.Image:
    """The picture in sRGB; unchanged if it is sRGB already, or close to it."""
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
