"""Colours as their file's profile or gamma means them, brought to sRGB.

Values within `TOLERANCE` of those of sRGB stay as they are: pictures with one of the many
profiles that mean sRGB keep every bit. A profile that cannot be read, or is for another
kind of picture, means nothing and is left out.
"""

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

TOLERANCE = 12
"""Of 255. Between sRGB and a plain gamma of 2.2 lie 8."""
SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
NUM_LEVELS = 6


def to_srgb(image: Image.Image, profile: bytes | None, exponent: float) -> Image.Image:
    """A picture of mode L, RGB or CMYK, in sRGB if what it means is far from that."""
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
    """From pixels of a mode to sRGB; None if nothing has to be done."""
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
