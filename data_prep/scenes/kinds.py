"""Scenes by name: which part of an image moves.

plain      the whole image: rotated digits, rotated volumes, a user's own images
blocked    all but a white block before it, at the same place before and after. It is painted after
           the group has acted, so it hides other parts of the source than of the target (paper,
           loss ablation and latent figures: 7 of 28 pixels). Its top left corner is uniform over
           the places where the block lies inside the image
checkerboard  a blue digit before black and white pixels, drawn for each image, which stay
composite  an object before a background, which stays. Masks and backgrounds are kept as columns, so
           that any object can be put before any other background: the truth of the swap test
views      an object in space before a plain backdrop: the group turns the object, nothing else
"""

from collections.abc import Mapping

import numpy as np
import torch

from data_prep.scenes.acting import move_images, with_identity
from data_prep.scenes.interface import Scene, Views
from data_prep.settings import (
    BlockedSceneConfig,
    CheckerboardSceneConfig,
    CompositeSceneConfig,
    OrbitDatasetConfig,
    PrepareConfig,
    ViewsSceneConfig,
)
from data_prep.sources import open_object_source, open_source, open_view_source, what_is_brought
from data_prep.sources.interface import (
    IMAGES,
    OBJECTS,
    VIEWS,
    ImageSource,
    NamedImages,
    ObjectSource,
    ViewSource,
    counts_of,
)
from orbit.core.groups import make_group
from orbit.core.groups.interpolation import inscribed
from orbit.core.store.facts import in_block
from orbit.core.store.manifest import ColumnSpec, FrameSpec

BLUE = (0, 0, 255)
DARKEST = 128
"""The greatest grey value that is not part of a digit."""
WHITE = 255


def draw_checkerboards(
    seed: int, stream: tuple[int, ...], indices: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Pixels 0 or 255 with equal chances, (n, H, W) uint8; each board a function of seed, stream
    and its index alone."""
    boards = np.empty((len(indices), *shape), np.uint8)
    for row, index in enumerate(indices):
        rng = np.random.default_rng([seed, *stream, int(index)])
        boards[row] = rng.integers(0, 2, shape, np.uint8) * WHITE
    return boards


def paint_blue(grey: np.ndarray, boards: np.ndarray) -> np.ndarray:
    """Digits (n, k, 1, H, W), blue before the board (n, H, W) of their image, (n, k, 3, H, W)."""
    blue = np.array(BLUE, np.uint8)[:, None, None]
    return np.where(grey > DARKEST, blue, boards[:, None, None])


def is_blue(frames: np.ndarray) -> np.ndarray:
    """The pixels of digits in frames (N, 3, H, W), (N, 1, H, W) bool."""
    blue = np.array(BLUE, np.uint8)[:, None, None]
    return np.asarray((frames == blue).all(1, keepdims=True))


class PlainScene:
    """See `data_prep.scenes.interface`. Raises ValueError if the group cannot act on the images.

    A continuous group turns only the inscribed disc or ball. Sources are blank outside it, so that
    nothing stays in the corners; for groups with shifts the blank margin is larger by the largest
    shift, so that nothing leaves the frame.
    """

    image_columns: Mapping[str, ColumnSpec] = {}
    view_columns: Mapping[str, ColumnSpec] = {}
    target_is_action_on_source = True

    def __init__(self, source: ImageSource, group: str) -> None:
        make_group(group).check_spatial_shape(source.image_shape[1:])
        self.frames = frame_spec(source)
        self.num_images, self.label_meaning = source.num_images, source.label_meaning
        self._source, self._group = source, group

    def subjects(self, part: str) -> np.ndarray | None:
        return self._source.subjects(part)

    def views(self, part: str, indices: np.ndarray, g: torch.Tensor) -> Views:
        group = make_group(self._group)
        images, labels = self._source.read(part, indices)
        constant = _constant(self._source, part, indices, images)
        if not group.is_exact:
            images = images * inscribed(images.shape[2:], group.margin)
        frames = np.empty((len(images), 1 + g.shape[1], *images.shape[1:]), images.dtype)
        frames[:, 0] = images
        move_images(group, images, g, frames[:, 1:], self.frames.values == "binary")
        return Views(frames, labels, {}, {}, constant, is_permuted=group.is_exact)

    def counts(self) -> dict[str, int]:
        return counts_of(self._source)

    def checksums(self) -> dict[str, str]:
        return self._source.checksums()


def _constant(
    source: ImageSource, part: str, indices: np.ndarray, images: np.ndarray
) -> tuple[str, ...]:
    """The names of the images of files that have the same value everywhere."""
    if not isinstance(source, NamedImages):
        return ()
    values = images.reshape(len(images), -1)
    is_constant = (values == values[:, :1]).all(1)
    if not is_constant.any():
        return ()
    names = source.names(part)
    return tuple(names[index] for index in indices[is_constant])


def frame_spec(source: ImageSource) -> FrameSpec:
    """uint8 frames loaded as -1 to 1."""
    ranges = ((0.0, 255.0), (-1.0, 1.0))
    if source.is_binary:
        return FrameSpec(source.image_shape, "uint8", *ranges, values="binary")
    return FrameSpec(source.image_shape, "uint8", *ranges)


PLACE_STREAM = 2


class BlockedScene:
    """See `data_prep.scenes.interface`; corners are drawn by (seed, part, position)."""

    view_columns: Mapping[str, ColumnSpec] = {}
    target_is_action_on_source = False

    def __init__(self, source: ImageSource, group: str, side: int, seed: int) -> None:
        if len(source.image_shape) != 3:
            raise ValueError("dataset.scene.name=blocked paints a block on images, not on volumes")
        if side >= min(source.image_shape[1:]):
            raise ValueError(
                f"dataset.scene.side={side} removes everything from images of {source.image_shape}"
            )
        self._plain = PlainScene(source, group)
        self._side, self._seed = side, seed
        self.frames, self.num_images = self._plain.frames, source.num_images
        self.label_meaning = source.label_meaning
        self.image_columns = {
            "block": ColumnSpec(
                "int64", (2,), f"row and column of the top left corner of a {side}x{side} block"
            )
        }

    def subjects(self, part: str) -> np.ndarray | None:
        return self._plain.subjects(part)

    def views(self, part: str, indices: np.ndarray, g: torch.Tensor) -> Views:
        plain = self._plain.views(part, indices, g)
        places = self._places(part)[indices]
        return plain._replace(
            frames=paint_blocks(plain.frames, places, self._side),
            image_columns={"block": places},
            is_permuted=False,
        )

    def counts(self) -> dict[str, int]:
        return self._plain.counts()

    def checksums(self) -> dict[str, str]:
        return self._plain.checksums()

    def _places(self, part: str) -> np.ndarray:
        """Top left corners, (images of the part, 2) int64."""
        number = list(self.num_images).index(part)
        height, width = self.frames.shape[1:]
        rng = np.random.default_rng([self._seed, PLACE_STREAM, number])
        high = [height - self._side + 1, width - self._side + 1]
        return rng.integers(0, high, (self.num_images[part], 2))


def paint_blocks(frames: np.ndarray, places: np.ndarray, side: int) -> np.ndarray:
    """Frames (n, k, C, H, W) with a white block at each image's corner (n, 2)."""
    is_block = in_block(places, side, frames.shape[-2:])[:, None, None]
    return np.where(is_block, frames.dtype.type(WHITE), frames)


BOARD_STREAM = 3


class CheckerboardScene:
    """See `data_prep.scenes.interface`; boards are drawn by (seed, part, position)."""

    image_columns: Mapping[str, ColumnSpec] = {}
    view_columns: Mapping[str, ColumnSpec] = {}
    target_is_action_on_source = False

    def __init__(self, source: ImageSource, group: str, seed: int) -> None:
        if len(source.image_shape) != 3 or source.image_shape[0] != 1:
            raise ValueError(
                "dataset.scene.name=checkerboard paints digits of grey images (1, H, W), not of"
                f" {source.image_shape}"
            )
        self._plain = PlainScene(source, group)
        self._seed, self._lattice = seed, source.image_shape[1:]
        self.frames = FrameSpec((3, *self._lattice), "uint8", (0.0, 255.0), (-1.0, 1.0))
        self.num_images, self.label_meaning = source.num_images, source.label_meaning

    def subjects(self, part: str) -> np.ndarray | None:
        return self._plain.subjects(part)

    def views(self, part: str, indices: np.ndarray, g: torch.Tensor) -> Views:
        plain = self._plain.views(part, indices, g)
        stream = (BOARD_STREAM, list(self.num_images).index(part))
        boards = draw_checkerboards(self._seed, stream, indices, self._lattice)
        return plain._replace(frames=paint_blue(plain.frames, boards), is_permuted=False)

    def counts(self) -> dict[str, int]:
        return self._plain.counts()

    def checksums(self) -> dict[str, str]:
        return self._plain.checksums()


class CompositeScene:
    """See `data_prep.scenes.interface`."""

    target_is_action_on_source = False

    def __init__(self, source: ObjectSource, group: str) -> None:
        source.check_group(group)
        self.frames = FrameSpec(source.image_shape, "uint8", (0.0, 255.0), (-1.0, 1.0))
        self.num_images, self.label_meaning = source.num_images, source.label_meaning
        self._source, self._group = source, group
        lattice = source.image_shape[1:]
        self.image_columns: Mapping[str, ColumnSpec] = {
            "background": ColumnSpec("uint8", source.image_shape, "what the object stands before")
        }
        self.view_columns: Mapping[str, ColumnSpec] = {
            "mask": ColumnSpec("uint8", (1, *lattice), "how much of the object, 0 to 255")
        }

    def subjects(self, part: str) -> np.ndarray | None:
        return self._source.subjects(part)

    def views(self, part: str, indices: np.ndarray, g: torch.Tensor) -> Views:
        elements = with_identity(make_group(self._group), g)
        num_views = elements.shape[1]
        backgrounds = self._source.backgrounds(part, indices)
        sprites = self._source.objects(part, np.repeat(indices, num_views), elements.flatten(0, 1))
        behind = np.repeat(backgrounds, num_views, axis=0)
        frames = composite(sprites.colour, sprites.alpha, behind)
        shape = (len(indices), num_views)
        return Views(
            frames.reshape(*shape, *frames.shape[1:]),
            self._source.labels(part, indices),
            {"background": backgrounds},
            {"mask": sprites.alpha.reshape(*shape, *sprites.alpha.shape[1:])},
        )

    def counts(self) -> dict[str, int]:
        return counts_of(self._source)

    def checksums(self) -> dict[str, str]:
        return self._source.checksums()


def composite(colour: np.ndarray, alpha: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Objects before backgrounds, uint8: colour and background (n, 3, H, W), alpha (n, 1, H, W)."""
    share = alpha.astype(np.float32) / 255.0
    mixed: np.ndarray = colour * share + background * (1.0 - share)
    return np.asarray(np.rint(mixed).astype(np.uint8))


class ViewsScene:
    """See `data_prep.scenes.interface`; the factors of a view are columns of its records."""

    view_columns: Mapping[str, ColumnSpec] = {}
    target_is_action_on_source = False

    def __init__(self, source: ViewSource, group: str) -> None:
        source.check_group(group)
        self.frames = FrameSpec(source.image_shape, "uint8", (0.0, 255.0), (-1.0, 1.0))
        self.num_images, self.label_meaning = source.num_images, source.label_meaning
        self.image_columns: Mapping[str, ColumnSpec] = source.factors
        self._source, self._group = source, group

    def subjects(self, part: str) -> np.ndarray | None:
        return self._source.subjects(part)

    def views(self, part: str, indices: np.ndarray, g: torch.Tensor) -> Views:
        elements = with_identity(make_group(self._group), g)
        shape = (len(indices), elements.shape[1])
        pictures = self._source.pictures(part, np.repeat(indices, shape[1]), elements.flatten(0, 1))
        return Views(
            pictures.reshape(*shape, *pictures.shape[1:]),
            self._source.labels(part, indices),
            self._source.read_factors(part, indices),
            {},
        )

    def counts(self) -> dict[str, int]:
        return counts_of(self._source)

    def checksums(self) -> dict[str, str]:
        return self._source.checksums()


NEEDS = {"composite": OBJECTS, "views": VIEWS}
"""The kind of source that a scene needs, if it does not show whole images."""


def make_scene(dataset: OrbitDatasetConfig, config: PrepareConfig) -> Scene:
    """Open the source and make its scene; raises the errors of either."""
    scene = dataset.scene
    needed = NEEDS.get(scene.name, IMAGES)
    if what_is_brought(config.source) != needed:
        raise ValueError(
            f"dataset.scene.name={scene.name} cannot show source={config.source.name}:"
            f" it needs {needed}"
        )
    if isinstance(scene, CompositeSceneConfig):
        return CompositeScene(open_object_source(config, dataset.group), dataset.group)
    if isinstance(scene, ViewsSceneConfig):
        return ViewsScene(open_view_source(config, dataset.group), dataset.group)
    source = open_source(config)
    if isinstance(scene, BlockedSceneConfig):
        return BlockedScene(source, dataset.group, scene.side, config.seed)
    if isinstance(scene, CheckerboardSceneConfig):
        return CheckerboardScene(source, dataset.group, config.seed)
    return PlainScene(source, dataset.group)
