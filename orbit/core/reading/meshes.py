"""The triangles of a Wavefront OBJ file: the one reader of meshes.

It reads the statements `v` and `f` and ignores all others (texture, normals, materials, groups,
lines, curves). A line that ends in a backslash continues on the next one.
"""

import codecs
import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from orbit.core.reading.files import import_extra

NEWLINE = re.compile(r"\r\n|\r|\n")
INTEGER = re.compile(r"[+-]?[0-9]+")
MAX_COORDINATE = 1e10
"""Coordinates are compared in steps of 1e-8, counted in 64 bits, which sets this bound."""
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class NotFiniteError(ValueError):
    """A vertex has a coordinate that is not finite."""


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) float64 and triangles (F, 3) int64 of an OBJ file.

    Polygons become fans of triangles; a negative index counts back from the last vertex
    before it. A fourth number of a vertex, and colours, are ignored. Raises
    FileNotFoundError if there is no such file, ValueError naming file and line for what
    cannot be read, for numbers beyond 1e10 and for vertices that do not exist, and
    NotFiniteError for numbers that are not finite.
    """
    vertices: list[tuple[float, float, float]] = []
    faces: list[tuple[int, int, int]] = []
    lines: list[int] = []
    for number, words in _statements(_text(path)):
        try:
            if words[0] == "v":
                vertices.append(_vertex(words[1:]))
            elif words[0] == "f":
                corners = [_corner(word, len(vertices)) for word in words[1:]]
                if len(corners) < 3:
                    raise ValueError(f"a face has {len(corners)} corners")
                fan = [(corners[0], *pair) for pair in itertools.pairwise(corners[1:])]
                faces += fan
                lines += [number] * len(fan)
        except ValueError as error:
            kind = NotFiniteError if isinstance(error, NotFiniteError) else ValueError
            raise kind(f"{path}, line {number}: {error}") from None
    if not faces:
        raise ValueError(f"{path} is not an OBJ file with faces")
    triangles = np.array(faces, np.int64)
    if (beyond := np.flatnonzero(triangles.max(1) >= len(vertices))).size:
        first = beyond[0]
        raise ValueError(
            f"{path}, line {lines[first]}: a face has vertex {triangles[first].max() + 1}"
            f" of {len(vertices)}"
        )
    return np.array(vertices, np.float64), triangles


def _text(path: Path) -> str:
    """The text of a file. Statements are ASCII, so comments and names may be in any encoding."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing") from None
    except (IsADirectoryError, PermissionError) as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    try:
        if data.startswith(UTF_16):
            return data.decode("utf-16")
        text = data.removeprefix(codecs.BOM_UTF8).decode("latin-1")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError(f"{path} is not an OBJ file: it is not text")
    return text


def _statements(text: str) -> Iterator[tuple[int, list[str]]]:
    """For each statement, the number of its first line, and its words."""
    words: list[str] = []
    begun = 0
    for number, line in enumerate(NEWLINE.split(text), start=1):
        line = line.split("#", 1)[0].rstrip()
        begun = begun or number
        words += line.removesuffix("\\").split()
        if not line.endswith("\\"):
            if words:
                yield begun, words
            words, begun = [], 0
    if words:
        yield begun, words


def _vertex(words: list[str]) -> tuple[float, float, float]:
    if len(words) < 3:
        raise ValueError(f"a vertex has {len(words)} coordinates")
    return _number(words[0]), _number(words[1]), _number(words[2])


def _number(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        raise ValueError(f"{word!r} is not a number") from None
    if "_" in word or not word.isascii():
        raise ValueError(f"{word!r} is not a number")
    if not math.isfinite(value):
        raise NotFiniteError(f"{word!r} is not finite")
    if abs(value) > MAX_COORDINATE:
        raise ValueError(f"{word!r} is beyond {MAX_COORDINATE:g}")
    return value


def _corner(word: str, num_vertices: int) -> int:
    """Index from 0 of a corner `v`, `v/vt`, `v//vn` or `v/vt/vn`; negative counts backwards."""
    text = word.split("/", 1)[0]
    if not INTEGER.fullmatch(text):
        raise ValueError(f"{word!r} is not a corner of a face")
    index = int(text)
    if index == 0 or not -num_vertices <= index < 2**62:
        raise ValueError(f"there is no vertex {index}")
    return index - 1 if index > 0 else num_vertices + index


class OpenMeshError(ValueError):
    """A mesh that could be read, but does not enclose a volume."""


class Surface(NamedTuple):
    """Corners (v, 3) float64 and triangles (f, 3) int64 oriented outwards."""

    vertices: np.ndarray
    faces: np.ndarray


def read_closed_mesh(path: Path) -> Surface:
    """The triangles of all bodies of an OBJ file, with vertices at the same point merged.

    Raises what `read_obj` raises, and OpenMeshError naming the file if it does not enclose a
    volume: if edges are open, faces oriented in different ways, or corners not finite.
    """
    trimesh = import_extra("trimesh", "meshes", "meshes")
    try:
        mesh = trimesh.Trimesh(*read_obj(path), process=False)
    except NotFiniteError as error:
        raise OpenMeshError(str(error)) from None
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    if not mesh.is_watertight:
        raise OpenMeshError(f"{path} is not closed: some edges do not join two faces")
    if not mesh.is_winding_consistent:
        raise OpenMeshError(f"{path} is not closed consistently: its faces are not oriented alike")
    used, faces = np.unique(mesh.faces, return_inverse=True)
    return Surface(
        np.asarray(mesh.vertices, np.float64)[used], faces.reshape(-1, 3).astype(np.int64)
    )
