"""Files below a folder and the classes of its subfolders; remarks on files; labels of a column."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from orbit.core.files.listing import find_files
from orbit.core.printing import say
from orbit.core.user_text import parse_integer

NAMES_OF_SPLITS = ("train", "val", "valid", "validation", "test")


def find_all(root: Path, suffixes: Sequence[str], key: str) -> list[Path]:
    """All files with these suffixes below `root`; one line reports the files that are ignored.

    `key` is how the user named `root`. Raises as `find_files` does, and ValueError if
    there is no such file.
    """
    found = find_files(root, suffixes, key)
    remark = found.remark()
    if not found.files:
        raise ValueError(
            f"{key}={root} holds no file of {', '.join(suffixes)}" + (remark and f"; {remark}")
        )
    if remark:
        say(remark)
    return found.files


def list_files(
    root: Path, suffixes: Sequence[str], are_classes: bool = True
) -> tuple[list[Path], np.ndarray, list[str]]:
    """Files with these suffixes in `root`, or in its immediate subfolders, which are classes.

    Returns the files in the order of their class and then their name, the labels (n,) int64, and
    the class names in the order of their labels: sorted names of subfolders, or none if the files
    lie in `root` itself (all labels are then 0). If folders are not classes, files of all depths
    are taken and every label is 0.

    Raises as `find_all` does, and ValueError for files both beside and inside subfolders, for a
    deeper folder with such files, and if all subfolders are named like splits.
    """
    files = find_all(root, suffixes, "source.root")
    places = [path.relative_to(root).parts[:-1] for path in files]
    labels = np.zeros(len(files), np.int64)
    if not are_classes or not any(places):
        return files, labels, []
    names = sorted({place[0] for place in places if place})
    _check_no_splits(root, names if all(places) else [])
    for path, place in zip(files, places, strict=True):
        if len(place) > 1:
            raise ValueError(f"{path.parent}: folders of classes may not hold folders with files")
    if not all(places):
        beside, inside = files[places.index(())], files[list(map(bool, places)).index(True)]
        raise ValueError(
            f"source.root={root} holds files both beside its folders ({beside.name}) and in"
            f" them ({inside.relative_to(root)}): folders are classes, so move all into them"
        )
    return files, np.array([names.index(place[0]) for place in places], np.int64), names


def _check_no_splits(root: Path, names: list[str]) -> None:
    if names and all(name.lower() in NAMES_OF_SPLITS for name in names):
        raise ValueError(
            f"source.root={root} holds folders named like splits ({', '.join(names)});"
            " put classes below one of them, or point source.root at one"
        )


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
    (4, b"ftyp", "is a video (MP4 or similar)"),
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
"""Offset, bytes at this offset, and what a file with these bytes is."""
MARKUP = (
    (b"<svg", "is an SVG drawing"),
    (b"<!doctype html", "is an HTML page, like a failed download"),
    (b"<html", "is an HTML page, like a failed download"),
    (b"<?xml", "is an XML document"),
)


def describe_content(path: Path) -> str | None:
    """A clause such as "is an HTML page" to follow a file's name; None if the content is not
    recognised.

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
        return "holds only zero bytes, like an interrupted download"
    for offset, signature, clause in SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return clause
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<"):
        for mark, clause in MARKUP:
            if mark in text[:1024]:
                return clause
    return None


MAX_NAMES = 3


def gathered(remarks: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each remark, from (name, remark): the number of files, the first of them, the
    remark."""
    by_remark: dict[str, list[str]] = {}
    for name, remark in remarks:
        by_remark.setdefault(remark, []).append(name)
    return [f"{listed(names)}: {remark}" for remark, names in by_remark.items()]


def listed(names: list[str], num: int | None = None, most: int = MAX_NAMES) -> str:
    """Up to `most` of `num` names, and the number of further ones; `num` None means all names."""
    total = len(names) if num is None else num
    shown = names[:most]
    more = total - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")


def import_extra(module: str, name: str, extra: str, kind: str = "source") -> Any:
    """Import a module of an optional library that the named source or dataset needs.

    Raises ValueError with the command that installs it if it is missing.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise ValueError(f"{kind}={name} needs {error.name}: pip install -e '.[{extra}]'") from None


INT64 = np.iinfo(np.int64)
MISSING = frozenset(
    ("", "nan", "NaN", "NAN", "-nan", "-NaN", "NaT", "NA", "<NA>", "N/A", "n/a", "#N/A", "None")
).union(("null", "NULL"))
"""Texts that programs write for a missing value."""
WHOLE = re.compile(r"(-?[0-9]+)\.0*")


def number_labels(
    texts: Sequence[str], place: Callable[[int], str]
) -> tuple[np.ndarray, list[str]]:
    """Labels (n,) int64 and the names that they number.

    If all texts are integers, or all are integers written as floats (`2.0`), these are the labels,
    without names; other texts are numbered in sorted order. `place` names the position of a row.
    Raises ValueError as `check_texts` does, and for an integer outside int64, naming the row.
    """
    check_texts(texts, place, "label")
    numbers = [_whole_number(text) for text in texts]
    found = [number for number in numbers if number is not None]
    if len(found) < len(numbers):
        names, labels = np.unique(np.array(texts), return_inverse=True)
        return labels.astype(np.int64), [str(name) for name in names]
    for row, number in enumerate(found):
        if not INT64.min <= number <= INT64.max:
            raise ValueError(f"{place(row)}: label {number} does not fit into 64 bits")
    return np.array(found, np.int64), []


def check_texts(texts: Sequence[str], place: Callable[[int], str], what: str) -> None:
    """Refuse missing values, and one value in two spellings, in a column of `what`.

    Missing values are empty cells, `nan`, `NA`, `None` and the like. Two spellings are `2` and
    `2.0`, or two texts of different letters that look alike. Raises ValueError naming the row.
    """
    first_row: dict[object, int] = {}
    for row, text in enumerate(texts):
        if text.strip() in MISSING:
            written = f" ({text.strip()} stands for a missing value)" if text.strip() else ""
            raise ValueError(f"{place(row)} has no {what}{written}")
        number = _whole_number(text)
        key = unicodedata.normalize("NFC", text) if number is None else number
        other = first_row.setdefault(key, row)
        if texts[other] != text:
            raise ValueError(
                f"{place(row)}: {what} {text!r} is the {what} {texts[other]!r} of {place(other)}"
                " in another spelling: write it in one way"
            )


def _whole_number(text: str) -> int | None:
    """The integer that a text gives, as an integer or as a float such as `2.0`."""
    match = WHOLE.fullmatch(text)
    return parse_integer("0" if match and match[1] == "-0" else match[1] if match else text)
