"""Tags of a TIFF that decide what its values mean: those that are not obeyed are refused."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import TiffImagePlugin

SUBFILE_TYPE, BITS, COMPRESSION, PHOTOMETRIC = 254, 258, 259, 262
NUM_SAMPLES, INK_SET, SAMPLE_FORMAT = 277, 332, 339
WHITE_IS_ZERO, SEPARATED, CMYK_INKS = 0, 5, 1
REDUCED_COPY, MASK = 1, 4
UNSIGNED = (1, 4)
"""Unsigned, and undefined, which readers take for unsigned."""
FORMATS = {
    2: "signed integers",
    3: "floating-point numbers",
    5: "complex numbers",
    6: "complex numbers",
}
OBEYED = (0, 1, 2, 3, 5, 6, 8)
"""Photometric interpretations: grey from white or from black, RGB, palette, inks, YCbCr, L*a*b*."""
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
    """A clause that says why a TIFF cannot be decoded; None if its tags do not tell."""
    try:
        # Pillow warns of what it cannot read, which is looked at here.
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
    except Exception:  # a directory that cannot be read tells nothing
        return None
    if PHOTOMETRIC not in found:  # Cut off: no TIFF is without.
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
