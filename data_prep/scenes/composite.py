"""Objects before backgrounds: the group moves the object, the background stays.

Masks and backgrounds are kept as columns, so that any object can be put before any
other background: the truth of the swap test.
"""

from collections.abc import Mapping

import numpy as np
import torch

from data_prep.scenes.acting import with_identity
from data_prep.scenes.interface import Views
from data_prep.sources.interface import ObjectSource, counts_of
from orbit.core.groups import make_group
from orbit.core.store.manifest import ColumnSpec, FrameSpec


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
