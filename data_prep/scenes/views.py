"""Objects in space before a plain backdrop: the group turns the object, nothing else changes."""

from collections.abc import Mapping

import numpy as np
import torch

from data_prep.scenes.acting import with_identity
from data_prep.scenes.interface import Views
from data_prep.sources.interface import ViewSource, counts_of
from orbit.core.groups import make_group
from orbit.core.store.manifest import ColumnSpec, FrameSpec


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
