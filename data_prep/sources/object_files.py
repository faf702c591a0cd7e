"""The different meshes of a folder: each OBJ file an object, unless another has its shape."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.reading.listing import find_all
from data_prep.reading.mesh_file import OpenMeshError
from data_prep.reading.remarks import listed
from pipeline.printing import say

MIN_OBJECTS = 3
"""One for each split."""
DIGEST_STEPS = 1e5
"""Corners that agree in a hundred-thousandth of the mesh's radius are one place."""


class Chosen(NamedTuple):
    """Files by the names of their objects, in the order of the labels; how many were left out
    for not being closed, and how many for having the shape of one before them (None where this
    was not asked)."""

    files: dict[str, Path]
    num_open: int | None
    num_repeated: int | None

    def counts(self) -> dict[str, int]:
        """What was asked, as the manifest records it."""
        counts = {"num_skipped_open": self.num_open, "num_skipped_repeated": self.num_repeated}
        found = {name: num for name, num in counts.items() if num is not None}
        return found if self.num_repeated is None else {"num_objects": len(self.files), **found}


def find_objects(root: Path) -> dict[str, Path]:
    """All OBJ files below `root` by their paths there, without the ending.

    Raises as `find_all` does, and ValueError for two files that differ in their ending alone.
    """
    found: dict[str, Path] = {}
    for path in find_all(root, (".obj",), "source.root"):
        name = path.relative_to(root).with_suffix("").as_posix()
        if other := found.get(name):
            raise ValueError(f"{path} and {other} would be one object: names must differ")
        found[name] = path
    return found


def choose(
    files: Mapping[str, Path],
    read: Callable[[Path], tuple[np.ndarray, np.ndarray]],
    skip_open: bool = False,
    once_a_shape: bool = False,
) -> Chosen:
    """Read all meshes once, and leave out those that are not wanted; these are said.

    `read` gives vertices (V, 3) and triangles (F, 3). With `skip_open` meshes that are not
    closed are left out; with `once_a_shape` those of the shape of one before them, and fewer
    than three objects raise ValueError. Raises what `read` raises.
    """
    kept: dict[str, Path] = {}
    unclosed: list[str] = []
    repeated: list[str] = []
    seen: set[bytes] = set()
    for name, path in files.items():
        try:
            vertices, faces = read(path)
        except OpenMeshError:
            if not skip_open:
                raise
            unclosed.append(name)
            continue
        digest = shape_digest(vertices, faces) if once_a_shape else name.encode()
        if digest in seen:
            repeated.append(name)
        else:
            kept[name] = path
            seen.add(digest)
    _say_left_out(unclosed, "not closed")
    _say_left_out(repeated, "of the same shape as one before them")
    if once_a_shape and len(kept) < MIN_OBJECTS:
        raise ValueError(
            f"source.root holds {len(kept)} different meshes that can be used"
            f" ({listed(list(kept)) or 'none'}); at least {MIN_OBJECTS} are needed, one a split"
        )
    return Chosen(
        kept, len(unclosed) if skip_open else None, len(repeated) if once_a_shape else None
    )


def shape_digest(vertices: np.ndarray, faces: np.ndarray) -> bytes:
    """The same for meshes of the same triangles: moved, scaled, or in another order of vertices
    or triangles, but not turned."""
    corners = vertices[faces]
    low, high = corners.min((0, 1)), corners.max((0, 1))
    centred = corners - (low + high) / 2
    radius = np.sqrt((centred**2).sum(-1).max())
    places = np.rint(centred * (DIGEST_STEPS / (radius or 1.0))).astype(np.int32)
    # Each triangle begins with its least corner and keeps its orientation.
    keys = places.astype(np.int64) @ (1 << np.array([42, 21, 0]))
    first = keys.argmin(1)
    turned = (first[:, None] + np.arange(3)) % 3
    triangles = np.take_along_axis(keys, turned, 1)
    ordered = triangles[np.lexsort(triangles.T[::-1])]
    return hashlib.sha256(ordered.astype("<i8").tobytes()).digest()


def meaning_of_objects(names: Sequence[str]) -> str:
    """What the numbers of objects mean, however many there are."""
    return (
        f"object, by the order of its file among source_checksums: 0 {names[0]}"
        f" to {len(names) - 1} {names[-1]}"
    )


def _say_left_out(names: list[str], why: str) -> None:
    if names:
        noun = "mesh is" if len(names) == 1 else "meshes are"
        say(f"{len(names):,} {noun} left out, {why}: {listed(names)}")
