"""Decoding the pixels of an opened picture, stricter than Pillow and without libtiff's messages."""

import io
import os
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from PIL import Image

PNG_START = 8
BLOCK_BYTES = 2**20
CHANNELS_OF_PNG = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""First column and row, and steps, of the passes of an interlaced PNG."""


def decode(image: Image.Image) -> None:
    """Load the pixels of a picture that was opened.

    Raises what Pillow's decoders raise, and ValueError for a PNG that holds fewer rows than
    its header says, which Pillow would fill with zeros.
    """
    file: Any = getattr(image, "fp", None)
    if image.format == "PNG" and file is not None:
        _decode_png(image, file)
        return
    tile = getattr(image, "tile", None)
    if file is not None and tile and tile[0][0] == "libtiff":
        # Read it here: libtiff would report an error of the file system as a fault of the file.
        file.seek(0)
        image.fp = io.BytesIO(file.read())  # type: ignore[attr-defined]
        with _no_standard_error():
            image.load()
    else:
        image.load()


def _decode_png(image: Image.Image, file: IO[bytes]) -> None:
    """Rows are counted only if the last one is zero, as missing rows leave it."""
    is_interlaced = bool(image.info.get("interlace"))
    try:
        image.load()
    except Exception:
        _check_rows(file)
        raise
    if is_interlaced or not _is_row_written(image):
        _check_rows(file)


def _is_row_written(image: Image.Image) -> bool:
    # Not by Image.crop, which has its own limit of pixels.
    row = image.im.crop((0, image.height - 1, image.width, image.height))
    return row.getbbox() is not None


def _check_rows(file: IO[bytes]) -> None:
    header, packed = b"", zlib.decompressobj()
    wanted = found = 0
    for kind, body in _chunks(file):
        if kind == b"IHDR":
            header = body
            wanted = _num_bytes(header)
        elif kind == b"IDAT":
            while body and found < wanted:
                try:
                    found += len(packed.decompress(body, BLOCK_BYTES))
                except zlib.error:
                    return  # Pillow reports the error.
                body = packed.unconsumed_tail
        if header and found >= wanted:
            return
    if found < wanted:
        raise ValueError(f"its pixels end after {found} of {wanted} bytes")


def _chunks(file: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    file.seek(PNG_START)
    while len(start := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        yield kind, file.read(length) if kind in (b"IHDR", b"IDAT") else b""
        file.seek(4 if kind in (b"IHDR", b"IDAT") else length + 4, os.SEEK_CUR)


def _num_bytes(header: bytes) -> int:
    """Bytes of all rows with their filters, according to the header; 0 for an unknown kind."""
    if len(header) != 13:
        return 0
    width, height, depth, colour, _, _, is_interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * CHANNELS_OF_PNG.get(colour, 0)
    passes = ADAM7 if is_interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, step_x, step_y in passes:
        columns, rows = -(-(width - left) // step_x), -(-(height - top) // step_y)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits // 8))
    return total if bits else 0


@contextmanager
def _no_standard_error() -> Iterator[None]:
    """libtiff prints its messages past Python; the error that follows has the cause."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # There is no standard error.
        yield
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
