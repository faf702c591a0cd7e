"""Solids for rotations: closed meshes, each a class, randomly deformed and voxelised."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from data_prep.settings.sources import MeshesSourceConfig
from data_prep.sources.objects import choose, find_objects, meaning_of_objects
from data_prep.sources.phantom import draw_turn, draw_waves
from orbit.core.files.atomic import sha256_of_file
from orbit.core.plugins import Kind
from orbit.core.reading.files import find_all, listed
from orbit.core.reading.meshes import Surface, read_closed_mesh

OFFSET = (0.73e-5, 1.37e-5, 2.91e-5)
"""Offset of sample points from the voxels' centres, in voxels, which avoids vertices on the
lattice."""


def fill(vertices: np.ndarray, faces: np.ndarray, side: int) -> np.ndarray:
    """Whether the centre of each voxel lies inside, (side, side, side) bool.

    `vertices` (v, 3) are in voxels along the three axes, voxel centres at integers; `faces` (f, 3)
    are the corners of triangles that are oriented alike. A point is inside if the surface winds
    around it: overlapping bodies are joined, and a cavity is a body with inverted faces. Rays run
    along the first axis, one for each column of voxels.
    """
    faces, column = _candidates(vertices, faces, side)
    ray = np.stack([column // side, column % side], 1) + OFFSET[1:]
    beside = [_beside_edge(vertices, faces, ray, pair) for pair in ((1, 2), (2, 0), (0, 1))]
    positive = np.stack([is_positive for _, is_positive in beside])
    is_hit = positive.all(0) | ~positive.any(0)
    areas = np.stack([area for area, _ in beside])[:, is_hit]
    height = (areas * vertices[faces[is_hit], 0].T).sum(0) / areas.sum(0)
    first_above = np.clip(np.ceil(height - OFFSET[0]), 0, side).astype(np.int64)
    steps = np.zeros((side + 1, side * side), np.int64)
    np.add.at(steps, (first_above, column[is_hit]), np.where(positive[0, is_hit], 1, -1))
    is_inside: np.ndarray = (steps[:side].cumsum(0) != 0).reshape(side, side, side)
    return is_inside


def _candidates(
    vertices: np.ndarray, faces: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Faces and flattened columns, (n, 3) and (n,), for which the ray hits the face's bounding
    box."""
    plane = vertices[faces, 1:] - OFFSET[1:]
    first = np.clip(np.ceil(plane.min(1)), 0, side).astype(np.int64)
    num = np.clip(np.floor(plane.max(1)) + 1, 0, side).astype(np.int64) - first
    num = np.maximum(num, 0)
    num_columns = num.prod(1)
    face = np.repeat(np.arange(len(faces)), num_columns)
    starts = np.cumsum(num_columns) - num_columns
    place = np.arange(len(face)) - starts[face]
    row, offset = np.divmod(place, num[face, 1])
    return faces[face], (first[face, 0] + row) * side + first[face, 1] + offset


def _beside_edge(
    vertices: np.ndarray, faces: np.ndarray, ray: np.ndarray, pair: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Twice the signed area between an edge and its ray, and whether it counts as positive.

    The ends of an edge are taken in the order of their numbers, so that exactly one of the two
    faces that share it finds the ray on its positive side and no ray slips between them.
    """
    start, end = faces[:, pair[0]], faces[:, pair[1]]
    a, b = vertices[np.minimum(start, end), 1:], vertices[np.maximum(start, end), 1:]
    along, across = b - a, ray - a
    area = along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0]
    return np.where(start < end, area, -area), (area > 0) ^ (start > end)


MESH_STREAM = 51
NUM_VOLUMES = 600
NUM_WAVES = 6
WAVE_FREQUENCIES = (1.0, 4.0)
TURN_STD = np.radians(4)
SMALLEST_SIZE = 0.88
MAX_NAMED = 30
"""The most files that are listed if a requested one does not exist."""


class MeshesSource:
    """`num_samples` solids (default 600); position i shows class i modulo the number of classes.

    Frames are (1, D, H, W), 0 outside and 255 inside, with the mesh's x along W to the right, y
    along H upwards and z along D. Every solid lies in a ball whose radius is one voxel less than
    that of the inscribed one. All draws of a volume are keyed by (seed, stream, position). With
    `by_object` every mesh is a subject, and by default there is one solid of each.

    Raises FileNotFoundError if the folder is missing, ValueError for unknown or fewer than two
    classes (three objects), and naming the file for a mesh that cannot be read or (without
    `skip_open`) is not closed.
    """

    is_binary = True

    def __init__(self, config: MeshesSourceConfig, seed: int, num_samples: int | None) -> None:
        if config.root is None:
            raise ValueError("give source.root=DIR, a folder of closed meshes in OBJ files")
        root = Path(config.root)
        files = find_objects(root) if config.by_object else _find_files(root)
        if config.classes is not None:
            files = _named(files, config.classes, root)
        self._chosen = choose(files, _surface, config.skip_open, config.by_object)
        names = list(self._chosen.files)
        if config.by_object:
            self.label_meaning = meaning_of_objects(names)
        else:
            self.label_meaning = f"mesh: {_numbered(names, root)}"
        self._paths = list(self._chosen.files.values())
        self._config, self._seed = config, seed
        self.image_shape = (1, config.side, config.side, config.side)
        default = len(names) if config.by_object else NUM_VOLUMES
        self.num_images = {"all": default if num_samples is None else num_samples}

    def subjects(self, part: str) -> np.ndarray | None:
        """The mesh of each volume with `by_object`; otherwise None, because every split has all
        classes."""
        if not self._config.by_object:
            return None
        return np.arange(self.num_images[part]) % len(self._paths)

    def counts(self) -> dict[str, int]:
        return self._chosen.counts()

    def read(self, part: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        labels = indices.astype(np.int64) % len(self._paths)
        frames = np.empty((len(indices), *self.image_shape), np.uint8)
        for row in np.argsort(labels, kind="stable"):  # Each mesh is read only once.
            rng = np.random.default_rng([self._seed, MESH_STREAM, int(indices[row])])
            surface = _surface(self._paths[labels[row]])
            vertices = draw_deformed(rng, surface.vertices, self._config.deformation)
            lattice = _to_lattice(vertices, self._config.side)
            frames[row, 0] = fill(lattice, surface.faces, self._config.side) * np.uint8(255)
        return frames, labels

    def checksums(self) -> dict[str, str]:
        if self._config.by_object:
            return {f"{name}.obj": _checksum(path) for name, path in self._chosen.files.items()}
        return {path.name: _checksum(path) for path in self._paths}


def draw_deformed(rng: np.random.Generator, vertices: np.ndarray, deformation: float) -> np.ndarray:
    """A mesh (v, 3) within the unit ball: bent, stretched, slightly turned, and moved within the
    ball.

    `vertices` fill the unit ball about its centre. No vertex is displaced by more than
    `deformation` along any axis; axes are stretched by up to that share.
    """
    field = draw_waves(rng, vertices.T, 3, NUM_WAVES, WAVE_FREQUENCIES)
    peak = np.abs(field).max()
    moved = vertices + (deformation * rng.uniform(0.5, 1) / peak * field).T
    moved *= np.exp(deformation * rng.uniform(-1, 1, 3))
    moved = _into_unit_ball(moved @ draw_turn(rng, TURN_STD).T)
    size = rng.uniform(SMALLEST_SIZE, 1)
    direction = rng.standard_normal(3)
    shift = (1 - size) * rng.uniform() * direction / np.linalg.norm(direction)
    placed: np.ndarray = moved * size + shift
    return placed


def _into_unit_ball(vertices: np.ndarray) -> np.ndarray:
    """The vertices, centred on the middle of their bounding box, the farthest at distance 1."""
    centred = vertices - (vertices.min(0) + vertices.max(0)) / 2
    scaled: np.ndarray = centred / np.sqrt((centred**2).sum(1).max())
    return scaled


def _to_lattice(vertices: np.ndarray, side: int) -> np.ndarray:
    """Points (x, y, z) of the unit ball as positions along (D, H, W), in voxels."""
    return (side - 1) / 2 + (side - 3) / 2 * vertices[:, ::-1] * (1, -1, 1)


def _named(files: dict[str, Path], names: tuple[str, ...], root: Path) -> dict[str, Path]:
    if unknown := [name for name in names if name not in files]:
        raise ValueError(
            f"source.classes names {unknown[0]}; source.root={root} holds"
            f" {listed(sorted(files), most=MAX_NAMED)}"
        )
    if len(set(names)) < len(names):
        raise _too_few(names, root)
    return {name: files[name] for name in names}


def _numbered(names: Sequence[str], root: Path) -> str:
    """Classes with their labels; ValueError for fewer than two."""
    if len(names) < 2:
        raise _too_few(names, root)
    return ", ".join(f"{number} {name}" for number, name in enumerate(names))


def _too_few(names: Sequence[str], root: Path) -> ValueError:
    return ValueError(
        f"source.root={root}: at least two classes are needed, each once,"
        f" not {', '.join(names) or 'none'}"
    )


def _find_files(root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in find_all(root, (".obj",), "source.root"):
        if other := found.get(path.stem):
            raise ValueError(f"{path} and {other} would be one class: names must differ")
        found[path.stem] = path
    return dict(sorted(found.items()))


@lru_cache(maxsize=64)
def _surface(path: Path) -> Surface:
    vertices, faces = read_closed_mesh(path)
    return Surface(_into_unit_ball(vertices), faces)


@lru_cache(maxsize=64)
def _checksum(path: Path) -> str:
    return sha256_of_file(path)


SOURCE = Kind("meshes", MeshesSourceConfig, MeshesSource)
