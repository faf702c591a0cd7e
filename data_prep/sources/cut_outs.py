"""Objects cut out of their background: a user's pictures, or generated planes."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from data_prep.drawing.backgrounds import draw_skies
from data_prep.drawing.planes import (
    CLASS_NAMES,
    Sprites,
    check_moves_pictures,
    draw_planes,
    move_sprites,
)
from data_prep.settings.sources import CutOutsSourceConfig, GeneratedPlanesSourceConfig
from orbit.core.files.atomic import sha256_of_file
from orbit.core.plugins import Kind
from orbit.core.reading.files import list_files
from orbit.core.reading.pictures import (
    SUFFIXES,
    Limit,
    read_cut_out,
    read_header,
    read_picture,
)

NUM_IMAGES = 2000
PLANE_STREAM, SKY_STREAM = 20, 21


class GeneratedPlanesSource:
    """Top views of planes, of three classes in turn and in any heading; the group moves the plane.

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


BACKGROUND_STREAM = 40
NUM_CACHED = 512
MIN_OBJECTS = 3
"""One for each split."""
MARGIN = 1.0
"""Pixels between an object and the edge of the inscribed disc."""


class CutOutsSource:
    """Objects in turn, each before a background drawn for the composition; part `all`.

    `config.root`/objects holds pictures with transparency, its folders are classes;
    `config.root`/backgrounds holds pictures, whose folders are ignored. Objects are cut to their
    visible part and fitted into the inscribed disc; backgrounds are cut to a square and resized.
    Makes `num_samples` compositions, or 2000 if that is None. Raises FileNotFoundError if a folder
    is missing, ValueError naming a file that cannot be used, for fewer than 3 objects (splits have
    no object in common), and for a group that does not act on square pictures.
    """

    def __init__(
        self, config: CutOutsSourceConfig, seed: int, num_samples: int | None, group: str
    ) -> None:
        if config.root is None:
            raise ValueError("give source.root=DIR, the folder that holds objects and backgrounds")
        self._root = Path(config.root)
        self._size, self._seed, self._group = config.size, seed, group
        self.check_group(group)
        self._objects, self._labels, names = list_files(self._root / "objects", SUFFIXES)
        if len(self._objects) < MIN_OBJECTS:
            raise ValueError(
                f"{self._root / 'objects'} holds {len(self._objects)} of the at least"
                f" {MIN_OBJECTS} cut-outs that are needed: splits share no object"
            )
        self._backgrounds, _, _ = list_files(
            self._root / "backgrounds", SUFFIXES, are_classes=False
        )
        self._limit = Limit(config.max_megapixels)
        for file in self._objects:
            if not read_header(file, self._limit).has_alpha:
                raise ValueError(f"{file} has no transparency: an object must be cut out")
        for file in self._backgrounds:
            read_header(file, self._limit)
        self.image_shape = (3, config.size, config.size)
        self.num_images = {"all": NUM_IMAGES if num_samples is None else num_samples}
        listed = ", ".join(f"{label} {name}" for label, name in enumerate(names))
        self.label_meaning = f"folder: {listed}" if names else "always 0: there are no folders"
        self._checksums: dict[str, str] | None = None

    def subjects(self, part: str) -> np.ndarray:
        """The number of each composition's object file."""
        return np.arange(self.num_images[part], dtype=np.int64) % len(self._objects)

    def check_group(self, group: str) -> None:
        check_moves_pictures(group, self._size)

    def labels(self, part: str, indices: np.ndarray) -> np.ndarray:
        labels: np.ndarray = self._labels[np.asarray(indices) % len(self._objects)]
        return labels

    def backgrounds(self, part: str, indices: np.ndarray) -> np.ndarray:
        pictures = np.empty((len(indices), *self.image_shape), np.uint8)
        for row, index in enumerate(indices):
            rng = np.random.default_rng([self._seed, BACKGROUND_STREAM, int(index)])
            file = self._backgrounds[rng.integers(len(self._backgrounds))]
            pictures[row] = _read_background(file, self._size, self._limit)
        return pictures

    def objects(self, part: str, indices: np.ndarray, g: torch.Tensor) -> Sprites:
        files = [self._objects[index % len(self._objects)] for index in indices]
        sprites = np.empty((len(files), 4, self._size, self._size), np.uint8)
        for row, file in enumerate(files):
            sprites[row] = read_sprite(file, self._size, self._limit)
        return move_sprites(sprites, self._group, g)

    def checksums(self) -> dict[str, str]:
        """sha256 of every file, by its path below the root."""
        if self._checksums is None:
            self._checksums = {
                file.relative_to(self._root).as_posix(): sha256_of_file(file)
                for file in (*self._objects, *self._backgrounds)
            }
        return dict(self._checksums)


@lru_cache(maxsize=NUM_CACHED)
def read_sprite(path: Path, size: int, limit: Limit = Limit()) -> np.ndarray:  # noqa: B008
    """A cut-out (4, S, S) uint8, centred, whose visible part fills the inscribed disc.

    Where alpha is 0, the colour is 0. Raises ValueError naming a file that cannot be decoded or
    shows nothing.
    """
    image = read_cut_out(path, limit)
    box = image.getchannel("A").getbbox()
    if box is None:
        raise ValueError(f"{path} is transparent everywhere")
    left, top, right, bottom = box
    seen = Image.fromarray(np.asarray(image)[top:bottom, left:right])
    down, across = np.nonzero(np.array(seen.getchannel("A")))
    width, height = seen.size
    corner = np.hypot(np.abs(across + 0.5 - width / 2) + 0.5, np.abs(down + 0.5 - height / 2) + 0.5)
    side = 2 * corner.max() / max(1 - 2 * MARGIN / size, 0.5)
    canvas = int(np.ceil(side)) + 2
    left, top = (canvas - width) // 2, (canvas - height) // 2
    middle = (left + width / 2, top + height / 2)
    padded = Image.new("RGBA", (canvas, canvas))
    padded.paste(seen, (left, top))
    square = (*(at - side / 2 for at in middle), *(at + side / 2 for at in middle))
    pixels = np.array(padded.resize((size, size), Image.Resampling.BILINEAR, square))
    sprite = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    sprite[:3] *= sprite[3:] > 0
    sprite.setflags(write=False)
    return sprite


@lru_cache(maxsize=NUM_CACHED)
def _read_background(path: Path, size: int, limit: Limit) -> np.ndarray:
    return read_picture(path, False, size, limit=limit)


CUT_OUTS = Kind("folders", CutOutsSourceConfig, CutOutsSource)
GENERATED = Kind("generated", GeneratedPlanesSourceConfig, GeneratedPlanesSource)
