"""Picture files written byte by byte, with metadata that libraries do not write."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

SHORT, LONG = 3, 4


def write_tiff(
    path: Path,
    pixels: np.ndarray,
    photometric: int = 1,
    tags: Mapping[int, int | Sequence[int]] = {},
    data: bytes | None = None,
) -> Path:
    """An uncompressed TIFF, little-endian, of pixels (H, W) or (H, W, C)."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    content = pixels.tobytes() if data is None else data
    entries: dict[int, int | Sequence[int]] = {
        256: width,
        257: height,
        258: [8 * pixels.dtype.itemsize] * channels,
        259: 1,
        262: photometric,
        273: 8,
        277: channels,
        278: height,
        279: len(content),
        **tags,
    }
    content += b"\0" * (len(content) % 2)
    directory = 8 + len(content)
    extra_at = directory + 2 + 12 * len(entries) + 4
    table, extra = b"", b""
    for tag, given in sorted(entries.items()):
        values = [given] if isinstance(given, int) else list(given)
        kind = LONG if tag in (273, 279) else SHORT
        packed = struct.pack(f"<{len(values)}{'I' if kind == LONG else 'H'}", *values)
        if len(packed) > 4:
            place = struct.pack("<I", extra_at + len(extra))
            extra += packed
        else:
            place = packed.ljust(4, b"\0")
        table += struct.pack("<HHI", tag, kind, len(values)) + place
    head = b"II*\0" + struct.pack("<I", directory)
    listing = struct.pack("<H", len(entries)) + table + struct.pack("<I", 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + content + listing + extra)
    return path


def write_png(
    path: Path,
    pixels: np.ndarray,
    chunks: Sequence[tuple[bytes, bytes]] = (),
    depth: int = 8,
    colour: int | None = None,
) -> Path:
    """A PNG of pixels (H, W) or (H, W, C), with these chunks before its pixels.

    Below 8 bits `pixels` are packed into bytes; `colour` is PNG's colour type.
    """
    height, width = pixels.shape[:2]
    if colour is None:
        colour = 0 if pixels.ndim == 2 else {2: 4, 3: 2, 4: 6}[pixels.shape[2]]
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in pixels]
    elif depth == 8:
        rows = [row.astype(np.uint8).tobytes() for row in pixels]
    else:
        bits = np.unpackbits(pixels.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
        rows = [np.packbits(row.reshape(-1)).tobytes() for row in bits]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", body), (b"IEND", b"")]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts))
    return path


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def swapped_profile() -> bytes:
    """An ICC profile in which red and green have changed places."""
    from PIL import ImageCms

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", profile, 128)[0]
    places = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * count, 12)}
    red, green = places[b"rXYZ"], places[b"gXYZ"]
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)
