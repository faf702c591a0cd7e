"""Views of many objects in space, each in a light and a hue that the group leaves alone."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from data_prep.drawing.backdrop import plain_backdrop
from data_prep.drawing.sprites import hsv_to_rgb, uniform_draws
from data_prep.reading.mesh_file import read_closed_mesh
from data_prep.rendering import render
from data_prep.settings.sources import ObjectViewsSourceConfig
from data_prep.sources.object_files import choose, find_objects, meaning_of_objects
from data_prep.sources.rendered import GROUPS, read_mesh, turned_poses
from data_prep.store.manifest import ColumnSpec
from pipeline.files.atomic import sha256_of_file

NUM_VIEWS = 2000
POSE_STREAM, FACTOR_STREAM = 60, 61
LOWEST_LIGHT = 0.35
"""Least share of the light that comes from the viewer's side, so that no view is in the dark."""
SATURATION = 0.6


class ObjectViewsSource:
    """`num_samples`, or else 2000, views; view i shows object i modulo their number.

    Pictures are (3, S, S): the object alone before a grey backdrop. Its pose is uniform over all
    rotations, the light comes from a direction that is uniform over a cap about the viewer, and
    the hue of its colour is uniform; each is a function of the seed and the view alone. Every
    object is a subject.

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
    """Unit vectors (n, 3) float32 uniform over the cap z > LOWEST_LIGHT, of numbers (n, 2)."""
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
