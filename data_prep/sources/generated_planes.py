"""Planes in front of skies, both drawn: needs no files and never runs out."""

import numpy as np
import torch

from data_prep.drawing.plane_shapes import CLASS_NAMES
from data_prep.drawing.plane_sprites import draw_planes
from data_prep.drawing.skies import draw_skies
from data_prep.drawing.sprites import Sprites, check_moves_pictures, move_sprites
from data_prep.settings.sources import GeneratedPlanesSourceConfig

NUM_IMAGES = 2000
PLANE_STREAM, SKY_STREAM = 20, 21


class GeneratedPlanesSource:
    """Top views of planes of three classes in turn, in any heading; the group moves the plane.

    Makes `num_samples` compositions, or 2000 if that is None. Each is a
    function of the seed and its position alone. Raises ValueError for a group that does
    not act on square pictures.
    """

    label_meaning = ", ".join(f"{label} {name}" for label, name in enumerate(CLASS_NAMES))

    def __init__(
        self, config: GeneratedPlanesSourceConfig, seed: int, num_samples: int | None, group: str
    ) -> None:
        self.image_shape = (3, config.size, config.size)
        self.num_images = {"all": NUM_IMAGES if num_samples is None else num_samples}
        self._size, self._seed, self._group = config.size, seed, group
        self.check_group(group)

    def subjects(self, part: str) -> np.ndarray | None:
        return None

    def check_group(self, group: str) -> None:
        check_moves_pictures(group, self._size)

    def labels(self, part: str, indices: np.ndarray) -> np.ndarray:
        return np.asarray(indices, np.int64) % len(CLASS_NAMES)

    def backgrounds(self, part: str, indices: np.ndarray) -> np.ndarray:
        return draw_skies(self._seed, SKY_STREAM, indices, self._size)

    def objects(self, part: str, indices: np.ndarray, g: torch.Tensor) -> Sprites:
        each, place = np.unique(indices, return_inverse=True)
        kind = self.labels(part, each)
        sprites = draw_planes(self._seed, PLANE_STREAM, each, kind, self._size)
        return move_sprites(sprites[place], self._group, g)

    def checksums(self) -> dict[str, str]:
        return {}
