"""Views of meshes under rotations of space, in front of generated skies."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from data_prep.drawing.backgrounds import draw_skies
from data_prep.drawing.planes import Sprites, hsv_to_rgb, uniform_draws
from data_prep.settings.sources import RenderSourceConfig
from orbit.core.files.atomic import sha256_of_file
from orbit.core.groups import make_group
from orbit.core.plugins import Kind
from orbit.core.reading.files import list_files
from orbit.core.reading.meshes import read_obj
from orbit.core.rendering import Mesh, asymmetric_plane, make_mesh, render
from orbit.core.rendering.solid import to_matrices

GROUPS = ("so3", "octahedral")
NUM_IMAGES = 1000
BASE_STREAM, TINT_STREAM, SKY_STREAM = 30, 31, 32


class RenderedSource:
    """Pictures of each mesh in turn, in a drawn pose that the group turns further.

    `config.root` is an OBJ file, or a folder of them, each a class; null shows a
    generated asymmetric plane. Makes `num_samples` compositions, or 1000 if that is None.
    The pose is uniform over all rotations, and a tint multiplies
    the mesh's colours; each is a function of the seed and the position alone.

    Raises FileNotFoundError if `root` is missing, ValueError naming file and line for a
    mesh that cannot be read, and ValueError for a group that does not turn space.
    """

    def __init__(
        self, config: RenderSourceConfig, seed: int, num_samples: int | None, group: str
    ) -> None:
        self.image_shape = (3, config.size, config.size)
        self.num_images = {"all": NUM_IMAGES if num_samples is None else num_samples}
        self._size, self._seed, self._group = config.size, seed, group
        self.check_group(group)
        self._files = [] if config.root is None else _find_meshes(Path(config.root))
        for file in self._files:
            read_mesh(file)
        self._num_meshes = max(1, len(self._files))
        names = [file.stem for file in self._files] or ["generated plane"]
        self.label_meaning = ", ".join(f"{label} {name}" for label, name in enumerate(names))
        self._checksums: dict[str, str] | None = None

    def subjects(self, part: str) -> np.ndarray | None:
        """None: every composition has its own pose, and every split shows all meshes."""
        return None

    def check_group(self, group: str) -> None:
        if group not in GROUPS:
            raise ValueError(
                f"dataset.group={group} cannot turn rendered meshes; allowed: {', '.join(GROUPS)}"
            )

    def labels(self, part: str, indices: np.ndarray) -> np.ndarray:
        return np.asarray(indices, np.int64) % self._num_meshes

    def backgrounds(self, part: str, indices: np.ndarray) -> np.ndarray:
        return draw_skies(self._seed, SKY_STREAM, indices, self._size)

    def objects(self, part: str, indices: np.ndarray, g: torch.Tensor) -> Sprites:
        each, place = np.unique(indices, return_inverse=True)
        rotations = turned_poses(self._group, self._seed, BASE_STREAM, indices, g)
        tints = _tints(uniform_draws(self._seed, TINT_STREAM, each, 2))[place]
        colour = np.empty((len(place), *self.image_shape), np.uint8)
        alpha = np.empty((len(place), 1, *self.image_shape[1:]), np.uint8)
        labels = self.labels(part, np.asarray(indices))
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            mesh = read_mesh(self._files[label]) if self._files else asymmetric_plane()
            pictures = render(mesh, rotations[rows], self._size)
            steps = np.round(pictures.alpha * 255)
            visible = pictures.colour / np.maximum(pictures.alpha, np.float32(1e-3))
            alpha[rows] = steps
            colour[rows] = np.round(visible * tints[rows][:, :, None, None] * 255)
        return Sprites(colour, alpha)

    def checksums(self) -> dict[str, str]:
        if self._checksums is None:
            self._checksums = {file.name: sha256_of_file(file) for file in self._files}
        return dict(self._checksums)


def turned_poses(
    group: str, seed: int, stream: int, indices: np.ndarray, g: torch.Tensor
) -> np.ndarray:
    """Rotations (n, 3, 3) float64: a uniform pose keyed by (seed, stream, index), turned by `g`."""
    each, place = np.unique(indices, return_inverse=True)
    keys = [[seed, stream, int(index)] for index in each]
    drawn = [np.random.default_rng(key).standard_normal(4) for key in keys]
    base = to_matrices(np.array(drawn).reshape(-1, 4))[place]
    turned = to_matrices(make_group(group).encode(g).numpy())
    # Written out: the rounding of a matrix product may depend on the batch.
    rotations: np.ndarray = (turned[:, :, :, None] * base[:, None]).sum(2)
    return rotations


def _tints(uniform: np.ndarray) -> np.ndarray:
    """Factors (n, 3) within 0..1 from uniform numbers (n, 2): a hue, mostly pale."""
    return hsv_to_rgb(uniform[:, 0], 0.35 * uniform[:, 1], np.ones(len(uniform), np.float32))


def _find_meshes(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    files, labels, _ = list_files(root, (".obj",))
    if labels.any():
        raise ValueError(
            f"source.root={root}: each OBJ file is a class, so put all into one folder"
        )
    return files


@lru_cache(maxsize=256)
def read_mesh(path: Path) -> Mesh:
    """The mesh of an OBJ file; ValueError naming it if it cannot be read."""
    try:
        return make_mesh(*read_obj(path))
    except ValueError as error:
        text = str(error)
        raise ValueError(text if str(path) in text else f"{path}: {text}") from None


SOURCE = Kind("render", RenderSourceConfig, RenderedSource)
