"""The different meshes of a folder, as binary volumes or as rendered views."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from data_prep.drawing.backgrounds import plain_backdrop
from data_prep.drawing.planes import hsv_to_rgb, uniform_draws
from data_prep.settings.sources import ObjectViewsSourceConfig
from data_prep.sources.rendered import GROUPS, read_mesh, turned_poses
from orbit.core.files.atomic import sha256_of_file
from orbit.core.plugins import Kind
from orbit.core.printing import say
from orbit.core.reading.files import find_all, listed
from orbit.core.reading.meshes import OpenMeshError, read_closed_mesh
from orbit.core.rendering import render
from orbit.core.store.manifest import ColumnSpec

MIN_OBJECTS = 3
"""One for each split."""
DIGEST_STEPS = 1e5
"""Vertices that agree to 1e-5 of the mesh's radius count as the same point."""


class Chosen(NamedTuple):
    """Files by the names of their objects, in the order of the labels; the numbers of meshes left
    out because they are not closed, or have the shape of an earlier one (None if not checked)."""

    files: dict[str, Path]
    num_open: int | None
    num_repeated: int | None

    def counts(self) -> dict[str, int]:
        """The counts as the manifest records them."""
        counts = {"num_skipped_open": self.num_open, "num_skipped_repeated": self.num_repeated}
        found = {name: num for name, num in counts.items() if num is not None}
        return found if self.num_repeated is None else {"num_objects": len(self.files), **found}


def find_objects(root: Path) -> dict[str, Path]:
    """All OBJ files below `root` by their relative paths without the ending.

    Raises as `find_all` does, and ValueError for two files that differ only in the ending.
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
    """Read all meshes once, leave out those that cannot be used, and report them.

    `read` returns vertices (V, 3) and triangles (F, 3). With `skip_open` meshes that are not closed
    are left out; with `once_a_shape` those with the shape of an earlier one, and fewer than three
    objects raise ValueError. Raises the errors of `read`.
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
    """A digest that is equal for meshes of the same triangles, also if moved, scaled, or with
    another order of vertices or triangles, but not if turned."""
    corners = vertices[faces]
    low, high = corners.min((0, 1)), corners.max((0, 1))
    centred = corners - (low + high) / 2
    radius = np.sqrt((centred**2).sum(-1).max())
    places = np.rint(centred * (DIGEST_STEPS / (radius or 1.0))).astype(np.int32)
    # Each triangle starts with its smallest corner and keeps its orientation.
    keys = places.astype(np.int64) @ (1 << np.array([42, 21, 0]))
    first = keys.argmin(1)
    turned = (first[:, None] + np.arange(3)) % 3
    triangles = np.take_along_axis(keys, turned, 1)
    ordered = triangles[np.lexsort(triangles.T[::-1])]
    return hashlib.sha256(ordered.astype("<i8").tobytes()).digest()


def meaning_of_objects(names: Sequence[str]) -> str:
    """The meaning of the numbers of objects, for any number of objects."""
    return (
        f"object, by the order of its file among source_checksums: 0 {names[0]}"
        f" to {len(names) - 1} {names[-1]}"
    )


def _say_left_out(names: list[str], why: str) -> None:
    if names:
        noun = "mesh is" if len(names) == 1 else "meshes are"
        say(f"{len(names):,} {noun} left out, {why}: {listed(names)}")


NUM_VIEWS = 2000
POSE_STREAM, FACTOR_STREAM = 60, 61
LOWEST_LIGHT = 0.35
"""Smallest cosine between the light and the direction to the viewer, so that no view is dark."""
SATURATION = 0.6


class ObjectViewsSource:
    """`num_samples` views (default 2000); view i shows object i modulo the number of objects.

    Pictures are (3, S, S): the object alone before a grey backdrop. Its pose is uniform over all
    rotations, the direction of the light is uniform over a cap about the viewer, and the hue of its
    colour is uniform; each is a function of the seed and the view alone. Every object is a subject.

    Raises FileNotFoundError if the folder is missing, ValueError for fewer than three different
    meshes, naming file and line for a mesh that cannot be read, and for a group that does not
    turn space.
    """

    def __init__(
        self, config: ObjectViewsSourceConfig, seed: int, num_samples: int | None, group: str
    ) -> None:
        if config.root is None:
            raise ValueError("give source.root=DIR, a folder of OBJ files, each an object")
        self.check_group(group)
        self.image_shape = (3, config.size, config.size)
        self._size, self._seed, self._group = config.size, seed, group
        self._chosen = choose(
            find_objects(Path(config.root)),
            read_closed_mesh if config.skip_open else _triangles,
            config.skip_open,
            once_a_shape=True,
        )
        self._paths = list(self._chosen.files.values())
        self.num_images = {"all": NUM_VIEWS if num_samples is None else num_samples}
        self.label_meaning = meaning_of_objects(list(self._chosen.files))
        self.factors = {
            "light": ColumnSpec(
                "float32", (3,), "direction to the light: to the right, up, to the viewer"
            ),
            "hue": ColumnSpec("float32", (), "of the object's colour, 0 to 1, where both are red"),
        }

    def subjects(self, part: str) -> np.ndarray | None:
        return self.labels(part, np.arange(self.num_images[part]))

    def check_group(self, group: str) -> None:
        if group not in GROUPS:
            raise ValueError(
                f"dataset.group={group} cannot turn objects in space; allowed: {', '.join(GROUPS)}"
            )

    def labels(self, part: str, indices: np.ndarray) -> np.ndarray:
        return np.asarray(indices, np.int64) % len(self._paths)

    def read_factors(self, part: str, indices: np.ndarray) -> dict[str, np.ndarray]:
        uniform = uniform_draws(self._seed, FACTOR_STREAM, indices, 3)
        return {"light": _directions(uniform[:, :2]), "hue": uniform[:, 2]}

    def pictures(self, part: str, indices: np.ndarray, g: torch.Tensor) -> np.ndarray:
        each, place = np.unique(indices, return_inverse=True)
        factors = self.read_factors(part, each)
        colours = hsv_to_rgb(
            factors["hue"], np.full(len(each), SATURATION, np.float32), np.ones(len(each))
        )
        rotations = turned_poses(self._group, self._seed, POSE_STREAM, indices, g)
        behind = plain_backdrop(self._size).astype(np.float32)
        pictures = np.empty((len(place), *self.image_shape), np.uint8)
        labels = self.labels(part, indices)
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            lights = factors["light"][place[rows]]
            seen = render(read_mesh(self._paths[label]), rotations[rows], self._size, lights=lights)
            lit = seen.colour * colours[place[rows], :, None, None] * np.float32(255)
            pictures[rows] = np.rint(lit + (1 - seen.alpha) * behind)
        return pictures

    def counts(self) -> dict[str, int]:
        return self._chosen.counts()

    def checksums(self) -> dict[str, str]:
        return {f"{name}.obj": _checksum(path) for name, path in self._chosen.files.items()}


def _directions(uniform: np.ndarray) -> np.ndarray:
    """Unit vectors (n, 3) float32, uniform over the cap z > LOWEST_LIGHT, from uniform numbers (n,
    2)."""
    z = LOWEST_LIGHT + (1 - LOWEST_LIGHT) * uniform[:, 0].astype(np.float64)
    angle = 2 * np.pi * uniform[:, 1].astype(np.float64)
    beside = np.sqrt(1 - z * z)
    directions = np.stack([beside * np.cos(angle), beside * np.sin(angle), z], 1)
    return directions.astype(np.float32)


def _triangles(path: Path) -> tuple[np.ndarray, np.ndarray]:
    mesh = read_mesh(path)
    return mesh.vertices, mesh.faces


@lru_cache(maxsize=4096)
def _checksum(path: Path) -> str:
    return sha256_of_file(path)


SOURCE = Kind("views", ObjectViewsSourceConfig, ObjectViewsSource)
