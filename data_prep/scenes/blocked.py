"""A white block before the moving image, at the same place before and after.

The block is painted after the group has acted, so it hides other parts of the
source than of the target (paper, loss ablation and latent figures: 7 of 28 pixels).
Its top left corner is uniform over the places where the block lies inside the image.
"""

from collections.abc import Mapping

import numpy as np
import torch

from data_prep.scenes.interface import Views
from data_prep.scenes.plain import PlainScene
from data_prep.sources.interface import ImageSource
from orbit.core.store.facts import in_block
from orbit.core.store.manifest import ColumnSpec

PLACE_STREAM = 2
WHITE = 255


class BlockedScene:
    """See `data_prep.scenes.interface`; places are drawn by (seed, part, position)."""

    view_columns: Mapping[str, ColumnSpec] = {}
    target_is_action_on_source = False

    def __init__(self, source: ImageSource, group: str, side: int, seed: int) -> None:
        if len(source.image_shape) != 3:
            raise ValueError("dataset.scene.name=blocked paints a block on images, not on volumes")
        if side >= min(source.image_shape[1:]):
            raise ValueError(
                f"dataset.scene.side={side} leaves nothing of images of {source.image_shape}"
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
    """Frames (n, k, C, H, W) with a white block at each image's place (n, 2)."""
    is_block = in_block(places, side, frames.shape[-2:])[:, None, None]
    return np.where(is_block, frames.dtype.type(WHITE), frames)
