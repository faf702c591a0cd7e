"""What a file plainly is instead of what its name says, from its first bytes."""

from pathlib import Path

NUM_BYTES = 2048
SIGNATURES = (
    (
        0,
        b"version https://git-lfs.github.com/spec/",
        "is a Git LFS pointer, not the file itself: git lfs pull fetches that",
    ),
    (
        0,
        b"/annex/objects/",
        "is a git-annex pointer, not the file itself: git annex get fetches that",
    ),
    (0, b"\xff\xd8\xff", "is a JPEG picture"),
    (0, b"\x89PNG\r\n\x1a\n", "is a PNG picture"),
    (0, b"II*\0", "is a TIFF picture"),
    (0, b"MM\0*", "is a TIFF picture"),
    (0, b"GIF8", "is a GIF picture"),
    (8, b"WEBP", "is a WebP picture"),
    (4, b"ftypavif", "is an AVIF picture"),
    (4, b"ftyphei", "is a HEIF picture"),
    (4, b"ftyphev", "is a HEIF picture"),
    (4, b"ftypmif", "is a HEIF picture"),
    (4, b"ftypmsf", "is a HEIF picture"),
    (4, b"ftyp", "is a film (MP4 or its like)"),
    (0, b"\xff\x0a", "is a JPEG XL picture"),
    (4, b"JXL \r\n\x87\n", "is a JPEG XL picture"),
    (4, b"jP  \r\n\x87\n", "is a JPEG 2000 picture"),
    (0, b"\xff\x4f\xff\x51", "is a JPEG 2000 picture"),
    (0, b"8BPS", "is a Photoshop file"),
    (0, b"gimp xcf", "is a GIMP file"),
    (0, b"v/1\x01", "is an OpenEXR picture"),
    (0, b"#?RADIANCE", "is a Radiance picture"),
    (0, b"%PDF", "is a PDF document"),
    (128, b"DICM", "is a DICOM file"),
    (0, b"\x93NUMPY", "is an NPY array"),
    (0, b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
    (344, b"n+1\0", "is a NIfTI volume"),
    (0, b"PK\x03\x04", "is a zip archive"),
    (0, b"\x1f\x8b", "is compressed by gzip"),
    (0, b"BZh", "is compressed by bzip2"),
    (0, b"7z\xbc\xaf\x27\x1c", "is a 7z archive"),
)
"""Offset, bytes there, and what a file with them is."""
MARKUP = (
    (b"<svg", "is an SVG drawing"),
    (b"<!doctype html", "is an HTML page, as failed downloads are"),
    (b"<html", "is an HTML page, as failed downloads are"),
    (b"<?xml", "is an XML document"),
)


def describe_content(path: Path) -> str | None:
    """A clause such as "is an HTML page" to go behind a file's name; None if nothing is plain.

    Raises OSError if the file cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(NUM_BYTES)
        if not head:
            return "is empty (0 bytes)"
        is_zero = not any(head)
        while is_zero and (more := file.read(2**20)):
            is_zero = not any(more)
    if is_zero:
        return "holds nothing but zero bytes, as interrupted downloads do"
    for offset, signature, clause in SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return clause
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<"):
        for mark, clause in MARKUP:
            if mark in text[:1024]:
                return clause
    return None
