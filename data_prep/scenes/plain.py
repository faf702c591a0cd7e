"""The whole image moves: rotated digits, rotated volumes, a user's own images."""

from collections.abc import Mapping

import numpy as np
import torch

from data_prep.scenes.acting import move_images
from data_prep.scenes.interface import Views
from data_prep.sources.interface import ImageSource, NamedImages, counts_of
from orbit.core.groups import make_group
from orbit.core.groups.interpolation import inscribed
from orbit.core.store.manifest import ColumnSpec, FrameSpec


class PlainScene:
    """See `data_prep.scenes.interface`. Raises ValueError if the group cannot act on the images.

    A continuous group turns what lies in the inscribed disc or ball. Sources are
    blank outside it, so that nothing stands still in the corners; with shifts they are
    blank as much further in, so that nothing leaves the frame.
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
    """The names of those images of files that have one value all over."""
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
