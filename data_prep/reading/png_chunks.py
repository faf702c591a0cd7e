"""Chunks of a PNG that decide what its values mean: those that are not obeyed are refused."""

import struct
from pathlib import Path

import numpy as np

KEPT = (b"IHDR", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"iCCP", b"tRNS")
MAX_LENGTH = 1024
TEXTS, MAX_KEYWORD = (b"tEXt", b"zTXt", b"iTXt"), 80
KEYWORDS = (b"Raw profile type", b"XML:com.adobe.xmp")
"""Beginnings of keywords under which programs put EXIF and XMP."""
GREY_TYPE, RGB_TYPE, DEEP = 0, 2, 16
SRGB_GAMMA = 1 / 2.2
SRGB_CORNERS = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
"""White, red, green and blue, x and y each."""
CORNER_TOLERANCE = 0.02
BT709_PRIMARIES, LIKE_SRGB = 1, (1, 6, 13, 14, 15)


def read_chunks(path: Path) -> dict[bytes, bytes]:
    """The chunks before the pixels that say what values mean; of long ones the name alone."""
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
    """The exponent that brings stored values on [0, 1] to those of sRGB; 1 for most files.

    What says more goes before what says less: cICP, iCCP (left to others), sRGB, gAMA with
    cHRM. Raises ValueError, without naming the file, for what is not obeyed.
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
